// Outbox: replies of one event-loop turn leave in one write. Headers and short data are copied into a buffer, the rest of which serves the
// next turns, and which is used again once the socket has taken all of it; long data is handed over as it is, between two pieces of that
// buffer.

import type { Socket } from "node:net";
import type { MemoryBudget, ReusedMemory } from "#host";
import type { HeaderStyle } from "./nbd-codec.ts";
import type { RequestName } from "./reply-codec.ts";
import {
  chunkHeaderBytes,
  chunkType,
  dataOffsetBytes,
  encodeChunkHeader,
  encodeDataOffset,
  encodeErrorPayload,
  encodeHole,
  encodeSimpleReply,
  holeBytes,
  simpleReplyBytes,
} from "./reply-codec.ts";
import { eachRun } from "./zero-runs.ts";

const bufferBytes = 256 * 1024;
/** With less room left the next turn begins another buffer. */
const roomBytesMin = 64 * 1024;
/** Data up to this is copied: cheaper than one more piece in the write. */
const copiedBytesMax = 32 * 1024;
/** Buffers kept for later turns. */
const spareBuffersMax = 4;

/** What replies need of a socket. */
export type ReplySocket = Pick<Socket, "writable" | "write" | "cork" | "uncork">;

interface ReplyBuffer {
  readonly bytes: Buffer;
  /** Turns whose pieces of it the socket has not taken. */
  turns: number;
}

export interface OutboxDeps {
  readonly socket: ReplySocket;
  /** In which the data of READs may lie: it is given back once it has left. */
  readonly memory: ReusedMemory;
  /** Such data counts in it until then. */
  readonly budget: MemoryBudget;
  /** Called whenever the socket has taken what one turn gave it. */
  readonly onTaken: () => void;
}

export class Outbox {
  readonly #memory: ReusedMemory;
  readonly #budget: MemoryBudget;
  readonly #socket: ReplySocket;
  readonly #style: HeaderStyle;
  readonly #isExtended: boolean;
  readonly #onTaken: () => void;
  readonly #flushSoon = () => this.flush();
  readonly #spare: ReplyBuffer[] = [];
  #buffer: ReplyBuffer = freshBuffer();
  /** The open piece of `#buffer` is [#start, #end). */
  #start = 0;
  #end = 0;
  #pieces: Buffer[] = [];
  /** Full buffers that pieces of this turn point into. */
  #full: ReplyBuffer[] = [];
  /** Data of this turn that was not copied. */
  #lent: Uint8Array[] = [];
  #scheduled = false;
  #bytes = 0;
  #waitingBytes = 0;

  constructor(options: { readonly style: HeaderStyle }, { socket, memory, budget, onTaken }: OutboxDeps) {
    this.#memory = memory;
    this.#budget = budget;
    this.#style = options.style;
    this.#isExtended = options.style === "extended";
    this.#socket = socket;
    this.#onTaken = onTaken;
  }

  /** Bytes that the client has not taken from us. */
  get waitingBytes(): number {
    return this.#waitingBytes + this.#bytes;
  }

  /** Success of a request that gives nothing back. */
  success(to: RequestName): void {
    if (this.#isExtended) this.#chunkHeader(to, chunkType.none, 0, true);
    else this.#simple(to, 0);
  }

  /** A failed request, with words where the client understands them. */
  error(to: RequestName, errno: number, message: string): void {
    if (this.#style === "simple") this.#simple(to, errno);
    else this.chunk(to, chunkType.error, encodeErrorPayload(errno, message), true);
  }

  /** Success of a READ of what begins at `offset`; `whole`: in one chunk. */
  data(to: RequestName, offset: number, data: Uint8Array, whole: boolean): void {
    if (this.#style === "simple") {
      this.#simple(to, 0);
      this.#append(data);
    } else if (data.length === 0) this.#chunkHeader(to, chunkType.none, 0, true);
    else {
      eachRun(data, whole, (start, end, isHole) => {
        const isDone = end === data.length;
        if (isHole) this.#hole(to, offset + start, end - start, isDone);
        else this.#dataChunk(to, offset + start, data.subarray(start, end), isDone);
      });
    }
    if (data.length <= copiedBytesMax) this.#memory.give(data);
    else {
      this.#lent.push(data);
      this.#budget.take(data.length);
    }
  }

  /** A chunk of a reply, for clients that take chunks. */
  chunk(to: RequestName, type: number, payload: Uint8Array, isDone: boolean): void {
    this.#chunkHeader(to, type, payload.length, isDone);
    this.#append(payload);
  }

  /** Writes what has gathered. Called by itself at the end of the turn. */
  flush(): void {
    this.#scheduled = false;
    if (this.#bytes === 0) return;
    this.#closePiece();
    const pieces = this.#pieces;
    const buffers = this.#full;
    const bytes = this.#bytes;
    const lent = this.#lent;
    buffers.push(this.#buffer);
    this.#pieces = [];
    this.#full = [];
    this.#lent = [];
    this.#bytes = 0;
    for (const buffer of buffers) buffer.turns += 1;
    if (bufferBytes - this.#end < roomBytesMin) this.#takeBuffer();
    if (!this.#socket.writable) {
      this.#giveBack(lent);
      return;
    }
    this.#waitingBytes += bytes;
    const taken = () => {
      this.#waitingBytes -= bytes;
      this.#giveBack(lent);
      for (const buffer of buffers) this.#left(buffer);
      this.#onTaken();
    };
    if (pieces.length > 1) this.#socket.cork();
    const last = pieces.length - 1;
    for (let index = 0; index < last; index += 1) this.#socket.write(pieces[index]);
    this.#socket.write(pieces[last], taken);
    if (pieces.length > 1) this.#socket.uncork();
  }

  #giveBack(lent: readonly Uint8Array[]): void {
    for (const data of lent) {
      this.#memory.give(data);
      this.#budget.give(data.length);
    }
  }

  /** The socket has taken what a turn had in `buffer`. */
  #left(buffer: ReplyBuffer): void {
    buffer.turns -= 1;
    if (buffer.turns > 0) return;
    if (buffer !== this.#buffer) {
      if (!this.#full.includes(buffer) && this.#spare.length < spareBuffersMax) this.#spare.push(buffer);
    } else if (this.#bytes === 0) {
      this.#start = 0;
      this.#end = 0;
    }
  }

  #simple(to: RequestName, errno: number): void {
    const at = this.#reserve(simpleReplyBytes);
    encodeSimpleReply(this.#buffer.bytes, at, errno, to);
  }

  #chunkHeader(to: RequestName, type: number, payloadBytes: number, isDone: boolean): void {
    const at = this.#reserve(chunkHeaderBytes(this.#isExtended));
    encodeChunkHeader(this.#buffer.bytes, at, this.#isExtended, to, { type, isDone, payloadBytes });
  }

  #dataChunk(to: RequestName, offset: number, data: Uint8Array, isDone: boolean): void {
    this.#chunkHeader(to, chunkType.offsetData, dataOffsetBytes + data.length, isDone);
    const at = this.#reserve(dataOffsetBytes);
    encodeDataOffset(this.#buffer.bytes, at, offset);
    this.#append(data);
  }

  #hole(to: RequestName, offset: number, length: number, isDone: boolean): void {
    this.#chunkHeader(to, chunkType.offsetHole, holeBytes, isDone);
    const at = this.#reserve(holeBytes);
    encodeHole(this.#buffer.bytes, at, offset, length);
  }

  /** Room for `count` bytes in the buffer, counted as written. */
  #reserve(count: number): number {
    if (bufferBytes - this.#end < count) {
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
      this.#buffer.bytes.set(data, at);
      return;
    }
    this.#closePiece();
    this.#pieces.push(data as Buffer);
    this.#bytes += data.length;
  }

  #closePiece(): void {
    if (this.#end > this.#start) this.#pieces.push(this.#buffer.bytes.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #takeBuffer(): void {
    this.#buffer = this.#spare.pop() ?? freshBuffer();
    this.#start = 0;
    this.#end = 0;
  }
}

function freshBuffer(): ReplyBuffer {
  return { bytes: Buffer.allocUnsafeSlow(bufferBytes), turns: 0 };
}
