// Outbox: replies of one event-loop turn leave in one write. Headers and short data are copied into a buffer that is
// used again once the socket has taken it; long data is handed over as it is, between two pieces of that buffer.

import type { Socket } from "node:net";
import {
  chunkHeaderBytes,
  dataChunkHeaderBytes,
  encodeDataChunk,
  encodeDoneChunk,
  encodeErrorChunk,
  encodeSimpleReply,
  simpleReplyBytes,
} from "./nbd-codec.ts";

const bufferBytes = 256 * 1024;
/** Data up to this is copied: cheaper than one more piece in the write. */
const copiedBytesMax = 32 * 1024;
/** Buffers kept for later turns. */
const spareBuffersMax = 4;

/** What replies need of a socket. */
export type ReplySocket = Pick<Socket, "writable" | "write" | "cork" | "uncork">;

/** Identifies a request to its client. */
export interface Cookie {
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

export class Outbox {
  readonly #socket: ReplySocket;
  readonly #onTaken: () => void;
  readonly #flushSoon = () => this.flush();
  readonly #spare: Buffer[] = [];
  #buffer: Buffer = Buffer.allocUnsafeSlow(bufferBytes);
  /** The open piece of `#buffer` is [#start, #end). */
  #start = 0;
  #end = 0;
  #pieces: Buffer[] = [];
  /** Full buffers that pieces of this turn point into. */
  #full: Buffer[] = [];
  #scheduled = false;
  #bytes = 0;
  #waitingBytes = 0;

  /** `onTaken` is called whenever the socket has taken what one turn gave it. */
  constructor(socket: ReplySocket, onTaken: () => void) {
    this.#socket = socket;
    this.#onTaken = onTaken;
  }

  /** Bytes that the client has not taken from us. */
  get waitingBytes(): number {
    return this.#waitingBytes + this.#bytes;
  }

  /** A reply without data: `errno` or success. */
  simple(to: Cookie, errno: number): void {
    const at = this.#reserve(simpleReplyBytes);
    encodeSimpleReply(this.#buffer, at, errno, to.cookieHigh, to.cookieLow);
  }

  /** A failed request for a client that understands words. */
  error(to: Cookie, errno: number, message: string): void {
    this.#append(encodeErrorChunk(errno, message, to.cookieHigh, to.cookieLow));
  }

  /** Success of a READ for a client without structured replies. */
  simpleData(to: Cookie, data: Uint8Array): void {
    const at = this.#reserve(simpleReplyBytes);
    encodeSimpleReply(this.#buffer, at, 0, to.cookieHigh, to.cookieLow);
    this.#append(data);
  }

  /** Success of a READ in one structured chunk. */
  structuredData(to: Cookie, offset: number, data: Uint8Array): void {
    if (data.length === 0) {
      const at = this.#reserve(chunkHeaderBytes);
      encodeDoneChunk(this.#buffer, at, to.cookieHigh, to.cookieLow);
      return;
    }
    const at = this.#reserve(dataChunkHeaderBytes);
    encodeDataChunk(this.#buffer, at, to.cookieHigh, to.cookieLow, offset, data.length);
    this.#append(data);
  }

  /** Writes what has gathered. Called by itself at the end of the turn. */
  flush(): void {
    this.#scheduled = false;
    if (this.#bytes === 0) return;
    this.#closePiece();
    const pieces = this.#pieces;
    const buffers = this.#full;
    const bytes = this.#bytes;
    buffers.push(this.#buffer);
    this.#pieces = [];
    this.#full = [];
    this.#bytes = 0;
    this.#takeBuffer();
    if (!this.#socket.writable) return;
    this.#waitingBytes += bytes;
    const taken = () => {
      this.#waitingBytes -= bytes;
      for (const buffer of buffers) if (this.#spare.length < spareBuffersMax) this.#spare.push(buffer);
      this.#onTaken();
    };
    if (pieces.length > 1) this.#socket.cork();
    const last = pieces.length - 1;
    for (let index = 0; index < last; index += 1) this.#socket.write(pieces[index]);
    this.#socket.write(pieces[last], taken);
    if (pieces.length > 1) this.#socket.uncork();
  }

  /** Room for `count` bytes in the buffer, counted as written. */
  #reserve(count: number): number {
    if (this.#buffer.length - this.#end < count) {
      this.#closePiece();
      this.#full.push(this.#buffer);
      this.#takeBuffer();
    }
    const at = this.#end;
    this.#end += count;
    this.#bytes += count;
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flushSoon);
    }
    return at;
  }

  #append(data: Uint8Array): void {
    if (data.length <= copiedBytesMax) {
      const at = this.#reserve(data.length);
      this.#buffer.set(data, at);
      return;
    }
    this.#closePiece();
    this.#pieces.push(data as Buffer);
    this.#bytes += data.length;
  }

  #closePiece(): void {
    if (this.#end > this.#start) this.#pieces.push(this.#buffer.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #takeBuffer(): void {
    this.#buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(bufferBytes);
    this.#start = 0;
    this.#end = 0;
  }
}
