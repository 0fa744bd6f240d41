// PeerServer: one BlockStore at one HOST:PORT, for any number of PeerClients.
//
// Invariants: the store sees the requests of a connection in the order they were sent, but for copies that are moved; an answer leaves only after the
// store gave it; a store that is poisoned answers nobody any more. Connections, their memory and the time they may be silent in the
// middle of something are bounded.

import type {
  Address,
  Clock,
  Connection,
  ConnectionHandlers,
  Counter,
  Listen,
  Listener,
  Log,
  Metrics,
  Timer,
} from "#host";
import { formatAddress, MemoryBudget, ReusedMemory } from "#host";
import type { BlockStore, Confirmer, Courtesy, Locator, StoreWitness } from "#model";
import { assert, TorusError } from "#model";
import { answerHello } from "./greeting.ts";
import type { ServerConnectionDeps, ServerConnectionOptions } from "./server-connection.ts";
import { ServerConnection } from "./server-connection.ts";
import { errorNumbers } from "./wire/error-codec.ts";
import { FrameScratch } from "./wire/frame-codec.ts";
import type { Hello, Refusal, Welcome } from "./wire/handshake-codec.ts";

export interface PeerServerOptions extends Partial<ServerConnectionOptions> {
  readonly clusterId: string;
  /** Of the store's directory, raised durably when it was opened. */
  readonly incarnation: number;
  readonly address: Address;
  readonly connectionsMax?: number;
  /** Of all connections' requests and unsent answers together. */
  readonly requestBytesMax?: number;
}

export interface PeerServerDeps {
  readonly store: BlockStore;
  /** Vouches for blocks; without it nobody's copy is deleted on this peer's word. */
  readonly confirmer?: Confirmer;
  /** The same store, asked what it remembers of the metadata. */
  readonly witness: StoreWitness;
  /** Tells readers on this machine where blocks lie; without it nobody is told. */
  readonly locator?: Locator;
  /** Who makes room for users beside what other peers send; without it nothing waits, and nobody is told. */
  readonly courtesy?: Courtesy;
  readonly listen: Listen;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export const peerServerDefaults = {
  connectionsMax: 1024,
  requestBytesMax: 1024 * 2 ** 20,
  windowRequests: 1024,
  windowBytes: 64 * 2 ** 20,
  handshakeTimeoutMs: 5000,
  stallTimeoutMs: 15_000,
} as const;

const confirmsNothing: Confirmer = {
  confirm: () => Promise.reject(new TorusError("unsupported", "this peer confirms no blocks")),
};

const locatesNothing: Locator = {
  locate: () => Promise.reject(new TorusError("unsupported", "this peer does not tell where blocks lie")),
};

/** Connections above the maximum that are still told why they are refused. */
const refusedConnectionsMax = 64;
const checkEveryMs = 1000;
/** Whole blocks that many peers send here at once lie in memory; a second or two later the next ones do. */
const spareBytesMax = 32 * 2 ** 20;
const checksPerTrim = 10;

export class PeerServer {
  readonly #options: PeerServerOptions & typeof peerServerDefaults;
  readonly #deps: PeerServerDeps;
  readonly #budget: MemoryBudget;
  readonly #connectionDeps: ServerConnectionDeps;
  readonly #memory: ReusedMemory;
  readonly #connections = new Set<ServerConnection>();
  readonly #refused: Counter;
  readonly #broken: Counter;
  #listener: Listener | null = null;
  #timer: Timer | null = null;
  #failure: string | null = null;
  #closed = false;

  constructor(options: PeerServerOptions, deps: PeerServerDeps) {
    this.#options = { ...peerServerDefaults, ...options } as PeerServerOptions & typeof peerServerDefaults;
    this.#deps = deps;
    const { metrics } = deps;
    const counter = (name: string, help: string): Counter =>
      metrics.counter(`torus_peer_server_${name}_total`, help);
    this.#refused = counter("refused", "Handshakes refused");
    this.#broken = counter("broken", "Connections closed because they broke the protocol");
    const budget = new MemoryBudget(this.#options.requestBytesMax);
    this.#budget = budget;
    metrics.gauge("torus_peer_server_connections", "Clients connected", () => this.#connections.size);
    metrics.gauge(
      "torus_peer_server_request_bytes",
      "Bytes of requests under way and of answers that clients have not taken",
      () => budget.bytes,
    );
    const memory = new ReusedMemory({ spareBytesMax });
    this.#memory = memory;
    this.#connectionDeps = {
      store: deps.store,
      confirmer: deps.confirmer ?? confirmsNothing,
      witness: deps.witness,
      locator: deps.locator ?? locatesNothing,
      courtesy: deps.courtesy ?? null,
      clock: deps.clock,
      scratch: new FrameScratch(),
      budget,
      memory,
      take: (bytes) => memory.take(bytes),
      greet: (hello) => this.#greet(hello),
      poisoned: (reason) => this.fail(reason),
      counted: {
        requests: counter("requests", "Requests received"),
        receivedBytes: counter("received_bytes", "Bytes received from clients"),
        sentBytes: counter("sent_bytes", "Bytes sent to clients"),
      },
      ended: (connection, error) => this.#ended(connection, error),
    };
  }

  /** Where it listens, once started. */
  get address(): Address {
    assert(this.#listener !== null, "the server was started");
    return this.#listener.address;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Whether requests and answers must do with less: the process comes near what it may take. */
  squeeze(isSqueezed: boolean): void {
    this.#budget.squeeze(isSqueezed);
  }

  /** Listens. Rejects with `busy` or `invalid-argument` when the address cannot be had. */
  async start(): Promise<void> {
    assert(this.#listener === null && !this.#closed, "a server is started once");
    this.#listener = await this.#deps.listen(this.#options.address, (connection) => this.#accept(connection));
    this.#watch();
    this.#deps.log.info("serving the store", {
      peer: this.#deps.store.peer,
      address: formatAddress(this.#listener.address),
      incarnation: this.#options.incarnation,
    });
  }

  /** Drops every connection and refuses new ones with `reason`, for good: the store must be opened anew. */
  fail(reason: string): void {
    if (this.#failure !== null) return;
    this.#failure = reason;
    this.#deps.log.error("the store failed, its connections are dropped", {
      peer: this.#deps.store.peer,
      reason,
      connections: this.#connections.size,
    });
    for (const connection of [...this.#connections]) connection.destroy();
  }

  /** Stops listening and drops every connection. The store stays open: it is its owner's to close. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#listener?.close();
    for (const connection of [...this.#connections]) connection.destroy();
  }

  #accept(connection: Connection): ConnectionHandlers {
    const accepted = new ServerConnection(
      connection,
      this.#deps.clock.monotonicMs(),
      this.#options,
      this.#connectionDeps,
    );
    this.#connections.add(accepted);
    if (this.#closed || this.#connections.size > this.#options.connectionsMax + refusedConnectionsMax) {
      this.#refused.add(1);
      accepted.destroy();
    }
    return accepted;
  }

  #greet(hello: Hello): Welcome | Refusal {
    const { clusterId, incarnation, connectionsMax } = this.#options;
    const { peer } = this.#deps.store;
    const answer = this.#refusal(connectionsMax) ?? answerHello(hello, { peer, clusterId, incarnation });
    if (answer.kind === "refusal") {
      this.#refused.add(1);
      this.#deps.log.info("a client was refused", { peer, reason: answer.message });
    }
    return answer;
  }

  /** Why nobody is welcome now, if so. */
  #refusal(connectionsMax: number): Refusal | null {
    const { peer } = this.#deps.store;
    if (this.#failure !== null) {
      return {
        kind: "refusal",
        error: errorNumbers.poisoned,
        message: `peer ${peer} failed: ${this.#failure}`,
      };
    }
    if (this.#connections.size > connectionsMax) {
      const message = `peer ${peer} has ${connectionsMax} connections, its limit`;
      return { kind: "refusal", error: errorNumbers.unavailable, message };
    }
    return null;
  }

  #ended(connection: ServerConnection, error: TorusError | null): void {
    this.#connections.delete(connection);
    if (error === null) return;
    this.#broken.add(1);
    const fields = { peer: this.#deps.store.peer, remote: connection.remote, reason: error.message };
    if (connection.greeted) this.#deps.log.warn("a connection broke the protocol and was closed", fields);
    else this.#deps.log.debug("something that is not a Torus peer connected and was closed", fields);
  }

  #watch(checks = 1): void {
    this.#timer = this.#deps.clock.setTimer(checkEveryMs, () => {
      if (checks % checksPerTrim === 0) this.#memory.trim();
      const nowMs = this.#deps.clock.monotonicMs();
      for (const connection of [...this.#connections]) connection.check(nowMs);
      if (!this.#closed) this.#watch(checks + 1);
    });
  }
}
