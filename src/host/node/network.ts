// Real sockets: TCP and Unix. Writes of one event-loop turn are gathered and leave in one system call; small
// pieces are copied into slabs, large ones are passed on as they are. Bytes come in where their receiver wants them, or in one
// buffer that all connections of the thread share.

import type { OnReadOpts, Socket } from "node:net";
import { createConnection, createServer } from "node:net";
import type { Address, Connection, ConnectionHandlers, Listener, Network } from "#host";
import { formatAddress } from "#host";
import { messageOf, TorusError } from "#model";
import { reopened, sharedRoom } from "./reread.ts";
import { copiedBytesMax, giveSlabs, Slabs } from "./slabs.ts";

const keepAliveMsInitial = 10_000;

/** One socket. */
class NodeConnection implements Connection {
  readonly #socket: Socket;
  readonly #remote: string | null;
  #handlers: ConnectionHandlers | null = null;
  readonly #outgoing = new Slabs();
  /** What the system has not taken, in the order of the writes. */
  readonly #leaving: { readonly slabs: readonly Uint8Array[]; readonly left: readonly (() => void)[] }[] = [];
  /** Those to call when what is gathered has left. */
  #left: (() => void)[] = [];
  #pendingBytes = 0;
  #flushScheduled = false;
  #ending = false;
  #failure: Error | null = null;
  readonly #flush = (): void => this.#sendPieces();
  readonly #sent = (error?: Error | null): void => {
    const gone = this.#leaving.shift();
    if (!error && gone !== undefined) {
      giveSlabs(gone.slabs);
      for (const left of gone.left) left();
    }
    if (!error && this.#handlers !== null && this.unsentBytes === 0) this.#handlers.drained();
  };

  /** `open` makes the socket, which reads as it is told. */
  constructor(open: (onread: OnReadOpts) => Socket, remote: string | null) {
    const socket = open({
      buffer: () => this.#room(),
      callback: (bytes, room) => this.#received(bytes, room),
    });
    this.#socket = socket;
    this.#remote = remote;
    socket.on("error", (error) => {
      this.#failure = named(error);
    });
    socket.on("close", () => {
      const handlers = this.#handlers;
      this.#handlers = null;
      handlers?.closed(this.#failure);
    });
  }

  attach(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
  }

  #room(): Uint8Array {
    return this.#handlers?.room?.() ?? sharedRoom();
  }

  #received(bytes: number, room: Uint8Array): boolean {
    this.#handlers?.received(room.subarray(0, bytes));
    return true;
  }

  established(): void {
    this.#handlers?.connected();
  }

  get remote(): string {
    if (this.#remote !== null) return this.#remote;
    const { remoteAddress, remotePort } = this.#socket;
    return remoteAddress === undefined
      ? "unix"
      : formatAddress({ host: remoteAddress, port: remotePort ?? 0 });
  }

  get unsentBytes(): number {
    return this.#pendingBytes + this.#socket.writableLength;
  }

  write(bytes: Uint8Array, left?: () => void): void {
    if (this.#ending || bytes.length === 0) return;
    this.#schedule(bytes.length);
    if (bytes.length <= copiedBytesMax) {
      this.#outgoing.copy(bytes);
      left?.();
      return;
    }
    this.#outgoing.add(bytes);
    if (left !== undefined) this.#left.push(left);
  }

  writeCopy(bytes: Uint8Array): void {
    this.write(bytes.length <= copiedBytesMax ? bytes : Uint8Array.from(bytes));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    if (this.#ending) return;
    this.#sendPieces();
    this.#ending = true;
    this.#socket.end();
  }

  destroy(): void {
    this.#ending = true;
    this.#outgoing.take();
    this.#left = [];
    this.#pendingBytes = 0;
    this.#socket.destroy();
  }

  #schedule(bytes: number): void {
    this.#pendingBytes += bytes;
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  #sendPieces(): void {
    this.#flushScheduled = false;
    if (this.#ending) return;
    const { pieces, slabs } = this.#outgoing.take();
    if (pieces.length === 0) return;
    this.#pendingBytes = 0;
    this.#leaving.push({ slabs, left: this.#left });
    this.#left = [];
    if (pieces.length === 1) {
      this.#socket.write(pieces[0], this.#sent);
      return;
    }
    this.#socket.cork();
    const last = pieces.length - 1;
    for (let i = 0; i < last; i++) this.#socket.write(pieces[i]);
    this.#socket.write(pieces[last], this.#sent);
    this.#socket.uncork();
  }
}

/** Node joins the failures of several addresses of one name in an error without a message. */
function named(error: NodeJS.ErrnoException): Error {
  return error.message === "" ? new Error(error.code ?? error.name, { cause: error }) : error;
}

function connect(address: Address, handlers: ConnectionHandlers): Connection {
  const options = { ...address, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMsInitial };
  const connection = new NodeConnection((onread) => {
    const socket = createConnection({ ...options, onread });
    socket.once("connect", () => connection.established());
    return socket;
  }, formatAddress(address));
  connection.attach(handlers);
  return connection;
}

function listen(address: Address, accept: (connection: Connection) => ConnectionHandlers): Promise<Listener> {
  const server = createServer(
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMsInitial, pauseOnConnect: true },
    (accepted) => {
      const connection = new NodeConnection((onread) => reopened(accepted, onread), null);
      connection.attach(accept(connection));
    },
  );
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(listenError(address, error)));
    server.listen({ ...address }, () => {
      // An accept that fails later (no file descriptors left) must not stop the process: the next one may succeed.
      server.on("error", () => {});
      const bound = server.address();
      resolve({
        address:
          bound === null || typeof bound === "string" || "path" in address
            ? address
            : { host: address.host, port: bound.port },
        close: async () => {
          // The port is free at once; Node's own callback would wait for the connections, which live on.
          server.close();
        },
      });
    });
  });
}

function listenError(address: Address, error: NodeJS.ErrnoException): TorusError {
  const where = formatAddress(address);
  if (error.code === "EADDRINUSE") {
    return new TorusError("busy", `cannot listen on ${where}: another process does`, {}, { cause: error });
  }
  if (error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND" || error.code === "EACCES") {
    return new TorusError(
      "invalid-argument",
      `cannot listen on ${where}: ${messageOf(error)}`,
      {},
      { cause: error },
    );
  }
  return new TorusError("io", `cannot listen on ${where}: ${messageOf(error)}`, {}, { cause: error });
}

export const systemNetwork: Network = { connect, listen };
