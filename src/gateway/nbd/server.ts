// NbdServer: listens, and gives every client a Connection. It knows nothing of the protocol's bytes and nothing of
// what the exports are. A client that breaks the protocol costs its connection and nothing else.

import type { Server, Socket } from "node:net";
import { createServer } from "node:net";
import type { Clock, Counter, Log, Metrics } from "#host";
import { MemoryBudget, ReusedMemory } from "#host";
import { Connection } from "./connection.ts";
import type { ExportCatalog } from "./exports.ts";
import { connectionsMaxDefault, drainMsMax, requestBytesDefault } from "./limits.ts";
import type { ListenAddress, Listening } from "./listener.ts";
import { describeAddress, listen } from "./listener.ts";
import type { NbdTls } from "./tls.ts";
import { loadTls, requireUsable } from "./tls.ts";
import { TransmissionMetrics } from "./transmission.ts";

/** A client that vanished without a word is noticed after about two minutes. */
const keepAliveMs = 30_000;

export interface NbdServerOptions {
  /** At least one. */
  readonly listen: readonly ListenAddress[];
  readonly connectionsMax?: number;
  /** What requests and replies of all connections may take. */
  readonly requestBytesMax?: number;
  /** Null or not given: clients that ask for TLS are refused. */
  readonly tls?: NbdTls | null;
}

export interface NbdServerDeps {
  /**
   * The same connection, which has not been read, in an object whose "data" may be in memory that is used again. It is received in `room()`,
   * asked after each "data", where that is not null.
   */
  readonly reread: (accepted: Socket, room: () => Uint8Array | null) => Socket;
  readonly exports: ExportCatalog;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export class NbdServer {
  readonly #options: NbdServerOptions;
  readonly #deps: NbdServerDeps;
  readonly #connectionsMax: number;
  readonly #transmissionMetrics: TransmissionMetrics;
  readonly #accepted: Counter;
  readonly #turnedAway: Counter;
  readonly #servers: Server[] = [];
  readonly #listening: Listening[] = [];
  readonly #connections = new Set<Connection>();
  readonly #memory = new ReusedMemory();
  #tls: NbdTls | null;
  readonly #budget: MemoryBudget;
  #opening: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  #onEmpty: (() => void) | null = null;

  constructor(options: NbdServerOptions, deps: NbdServerDeps) {
    this.#options = options;
    this.#tls = options.tls ?? null;
    this.#deps = deps;
    this.#connectionsMax = options.connectionsMax ?? connectionsMaxDefault;
    const { metrics } = deps;
    this.#budget = new MemoryBudget(options.requestBytesMax ?? requestBytesDefault);
    this.#transmissionMetrics = new TransmissionMetrics(metrics);
    this.#accepted = metrics.counter("torus_nbd_connections_total", "Connections accepted");
    this.#turnedAway = metrics.counter(
      "torus_nbd_connections_refused_total",
      "Connections closed at once because there were too many",
    );
    metrics.gauge(
      "torus_nbd_request_bytes",
      "Bytes of requests under way and of replies that clients have not taken",
      () => this.#budget.bytes,
    );
    metrics.gauge("torus_nbd_connections", "Connections open now", () => this.#connections.size);
  }

  /** Whether requests and replies must do with less: the process comes near what it may take. */
  squeeze(isSqueezed: boolean): void {
    this.#budget.squeeze(isSqueezed);
  }

  /** Listens on every address, or on none: rejects with `busy` or `invalid-argument` and a message that names it, or what is wrong with the certificates. */
  open(): Promise<void> {
    this.#opening = this.#listen().finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #listen(): Promise<void> {
    if (this.#tls !== null) {
      await loadTls();
      requireUsable(this.#tls.credentials);
    }
    try {
      for (const address of this.#options.listen) {
        const server = createServer({
          noDelay: true,
          keepAlive: true,
          keepAliveInitialDelay: keepAliveMs,
          allowHalfOpen: true,
          pauseOnConnect: true,
        });
        server.on("connection", (socket) => this.#accept(socket));
        this.#listening.push(await listen(server, address));
        this.#servers.push(server);
        server.on("error", (error) =>
          this.#deps.log.warn("The listener has an error.", { error: error.message }),
        );
      }
    } catch (error) {
      this.#stopListening();
      throw error;
    }
    for (const { address } of this.#listening) {
      this.#deps.log.info("Serving NBD.", { address: describeAddress(address) });
    }
  }

  /** Of a server that was opened with TLS: what counts for connections from now on; those that stand stay as they are. Throws `invalid-argument` when it cannot be used. */
  renewTls(tls: NbdTls): void {
    requireUsable(tls.credentials);
    this.#tls = tls;
  }

  /** Where it listens, in the order of the options; a port asked for as 0 is the one that was found. */
  get addresses(): readonly ListenAddress[] {
    return this.#listening.map(({ address }) => address);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Listens no more, answers what is in flight, closes all connections and releases their exports. */
  close(): Promise<void> {
    this.#closing ??= this.#drain();
    return this.#closing;
  }

  async #drain(): Promise<void> {
    // What is being opened cannot be closed; how it ends is told to who opened.
    if (this.#opening !== null) await this.#opening.catch(() => {});
    this.#stopListening();
    if (this.#connections.size === 0) return;
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    for (const connection of this.#connections) connection.end();
    const deadline = this.#deps.clock.setTimer(drainMsMax, () => {
      this.#deps.log.warn("Connections did not end in time and were dropped.", {
        count: this.#connections.size,
      });
      for (const connection of this.#connections) connection.destroy();
    });
    await empty;
    deadline.cancel();
  }

  #stopListening(): void {
    for (const server of this.#servers) server.close();
    for (const listening of this.#listening) listening.remove();
  }

  #accept(accepted: Socket): void {
    if (this.#closing !== null || this.#connections.size >= this.#connectionsMax) {
      this.#turnedAway.add(1);
      this.#deps.log.debug("A connection was turned away.", { connectionsMax: this.#connectionsMax });
      accepted.on("error", () => {});
      accepted.destroy();
      return;
    }
    this.#accepted.add(1);
    let reader: Connection | null = null;
    const socket = this.#deps.reread(accepted, () => reader?.room() ?? null);
    const { exports, clock } = this.#deps;
    const client =
      socket.remoteAddress === undefined ? "unix" : `${socket.remoteAddress}:${socket.remotePort}`;
    const connection = new Connection({
      socket,
      exports,
      memory: this.#memory,
      budget: this.#budget,
      clock,
      log: this.#deps.log.child({ client }),
      metrics: this.#transmissionMetrics,
      tls: this.#tls,
      onClosed: (closed) => {
        this.#connections.delete(closed);
        if (this.#connections.size === 0) this.#onEmpty?.();
      },
    });
    reader = connection;
    this.#connections.add(connection);
  }
}
