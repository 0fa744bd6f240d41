// PeerPool: one PeerClient a peer, made when it is first asked for and used by all. Where a peer is, its owner says: a
// client asks again at each attempt to connect, so a peer may move.

import type { Clock, Connect, Log, Metrics } from "#host";
import type { PeerId } from "#model";
import { TorusError } from "#model";
import { PeerClient } from "./client.ts";
import type { PeerClientSettings } from "./client-settings.ts";
import type { NearDeps } from "./near-client.ts";
import { NearClient } from "./near-client.ts";

export interface PeerPoolOptions extends Partial<PeerClientSettings> {
  readonly clusterId: string;
}

export interface PeerPoolDeps {
  /** HOST:PORT of a peer, null while none is known. */
  readonly addressOf: (peer: PeerId) => string | null;
  readonly connect: Connect;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Without it the files of peers on this machine are left alone. */
  readonly nearBy?: NearDeps;
}

export class PeerPool {
  readonly #options: PeerPoolOptions;
  readonly #deps: PeerPoolDeps;
  readonly #clients = new Map<PeerId, PeerClient>();
  #closed = false;

  constructor(options: PeerPoolOptions, deps: PeerPoolDeps) {
    this.#options = options;
    this.#deps = deps;
    deps.metrics.gauge("torus_peer_client_connections", "Peers this process is connected to", () => {
      let connected = 0;
      for (const client of this.#clients.values()) if (client.connected) connected += 1;
      return connected;
    });
  }

  /** The link to `peer`; the same one each time, until it is forgotten. */
  storeOf(peer: PeerId): PeerClient {
    let client = this.#clients.get(peer);
    if (client === undefined) {
      if (this.#closed) throw new TorusError("closed", "the links to peers were closed");
      const { addressOf, nearBy, ...rest } = this.#deps;
      const [options, deps] = [
        { ...this.#options, peer },
        { ...rest, addressOf: () => addressOf(peer) },
      ];
      client =
        nearBy === undefined ? new PeerClient(options, deps) : new NearClient(options, { ...deps, nearBy });
      this.#clients.set(peer, client);
    }
    return client;
  }

  /** Closes the link to a peer that has left the cluster. */
  async forget(peer: PeerId): Promise<void> {
    const client = this.#clients.get(peer);
    this.#clients.delete(peer);
    await client?.close();
  }

  async close(): Promise<void> {
    this.#closed = true;
    const clients = [...this.#clients.values()];
    this.#clients.clear();
    await Promise.all(clients.map((client) => client.close()));
  }
}
