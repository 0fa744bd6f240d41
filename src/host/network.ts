// Network: connections as streams of bytes, as the peer protocol needs them. Real sockets are in #host/node; the
// simulator's carry bytes between machines that exist in memory only.

import { TorusError } from "#model";

/** A TCP host and port, or the path of a Unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** What the owner of a connection is told. Nothing is called after `closed`. */
export interface ConnectionHandlers {
  /** The connection stands: once, before anything else, on the connecting side only. */
  connected(): void;
  /** Bytes came in. They are the handler's until it returns: whoever keeps some of them copies them. */
  received(chunk: Uint8Array): void;
  /**
   * Where the next bytes are to go, asked before anything was received and after each `received`; null, or no such method, when any
   * place will do. What comes is then received as the first part of it. It is not written to otherwise.
   */
  room?(): Uint8Array | null;
  /** All that was written has been handed to the system: `unsentBytes` is 0. */
  drained(): void;
  /** Over, once: `null` when the other side ended it in order, else why. Also after `destroy`. */
  closed(reason: Error | null): void;
}

export interface Connection {
  /** Who is at the other end, for messages. */
  readonly remote: string;
  /** Written and not yet handed to the system. */
  readonly unsentBytes: number;
  /**
   * Sends `bytes`, which must not change until `left` is called, `drained` or `closed`. What is written in one turn of the event loop
   * leaves together at its end. `left` is called once they are handed to the system or copied, maybe before this returns; never when the
   * connection ends before.
   */
  write(bytes: Uint8Array, left?: () => void): void;
  /** The same for small pieces: copied before it returns, so that one buffer serves all headers. */
  writeCopy(bytes: Uint8Array): void;
  /** No `received` between these two, except for what was on its way in the same turn. */
  pause(): void;
  resume(): void;
  /** Sends what is written, then ends the connection. */
  close(): void;
  /** Ends it at once; nothing written before needs to stay unchanged after `destroy` returned. */
  destroy(): void;
}

export interface Listener {
  /** Where it listens; the port is the real one when 0 was asked for. */
  readonly address: Address;
  /** Accepts nothing more. Connections accepted before live on. */
  close(): Promise<void>;
}

/** Starts a connection. Failure is told by `closed`, never before this returned. */
export type Connect = (address: Address, handlers: ConnectionHandlers) => Connection;

/**
 * Accepts connections at `address`; `accept` gives each its handlers. Rejects with `busy` when the address is taken,
 * `invalid-argument` when it is not one of this machine, `io` otherwise.
 */
export type Listen = (
  address: Address,
  accept: (connection: Connection) => ConnectionHandlers,
) => Promise<Listener>;

export interface Network {
  readonly connect: Connect;
  readonly listen: Listen;
}

/** HOST:PORT, [IPv6]:PORT, or unix:PATH. */
export function formatAddress(address: Address): string {
  if ("path" in address) return `unix:${address.path}`;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The reverse of `formatAddress`; `invalid-argument` for anything else. */
export function parseAddress(text: string): Address {
  if (text.startsWith("unix:") && text.length > 5) return { path: text.slice(5) };
  const match = /^(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^:[\]/\s]+)):([0-9]{1,5})$/.exec(text);
  const port = match === null ? Number.NaN : Number(match[3]);
  if (match === null || !(port <= 65535)) {
    throw new TorusError(
      "invalid-argument",
      `"${text}" is not an address: use HOST:PORT such as 10.0.0.5:4321, [IPv6]:PORT or unix:PATH`,
    );
  }
  return { host: match[1] ?? match[2], port };
}
