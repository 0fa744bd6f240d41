// For tests: a PeerServer over a MemoryStore and clients of it, on whichever network they are given.

import type { Address, Clock, Log, Network } from "#host";
import { formatAddress, Metrics } from "#host";
import type { BlockStore, Confirmer, StoreWitness } from "#model";
import { PeerClient } from "./client.ts";
import type { PeerClientSettings } from "./client-settings.ts";
import type { PeerServerOptions } from "./server.ts";
import { PeerServer } from "./server.ts";

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

export interface Loopback {
  readonly server: PeerServer;
  readonly address: Address;
  readonly serverMetrics: Metrics;
  readonly clientMetrics: Metrics;
  /** A client of the server, closed by `close`. */
  client(options?: Partial<PeerClientSettings> & { peer?: string; clusterId?: string }): PeerClient;
  close(): Promise<void>;
}

export const loopbackCluster = "cluster-1";

export interface LoopbackHost {
  readonly network: Network;
  readonly clock: Clock;
  readonly address: Address;
}

export async function openLoopback(
  store: BlockStore & StoreWitness,
  host: LoopbackHost,
  options: Partial<PeerServerOptions> & { readonly confirmer?: Confirmer } = {},
): Promise<Loopback> {
  const { network, clock } = host;
  const serverMetrics = new Metrics();
  const clientMetrics = new Metrics();
  const { confirmer, ...settings } = options;
  const deps = {
    store,
    witness: store,
    listen: network.listen,
    clock,
    log: silentLog,
    metrics: serverMetrics,
  };
  const server = new PeerServer(
    { clusterId: loopbackCluster, incarnation: 1, address: host.address, ...settings },
    confirmer === undefined ? deps : { ...deps, confirmer },
  );
  await server.start();
  const clients: PeerClient[] = [];
  return {
    server,
    address: server.address,
    serverMetrics,
    clientMetrics,
    client(settings = {}) {
      const client = new PeerClient(
        { peer: store.peer, clusterId: loopbackCluster, ...settings },
        {
          addressOf: () => formatAddress(server.address),
          connect: network.connect,
          clock,
          log: silentLog,
          metrics: clientMetrics,
        },
      );
      clients.push(client);
      return client;
    },
    async close() {
      await Promise.all(clients.map((client) => client.close()));
      await server.close();
    },
  };
}

/** The value of a metric, 0 before it was ever counted. */
export function metricOf(metrics: Metrics, name: string): number {
  return metrics.collect().find((sample) => sample.name === name)?.value ?? 0;
}
