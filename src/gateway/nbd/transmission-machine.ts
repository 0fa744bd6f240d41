// TransmissionMachine: chunks of the socket in, requests out, without a copy where the chunk allows it. A payload
// that arrived whole is a view of its chunk; one that did not is assembled once, in memory that is used again. What is missing of
// a long one can be received right there: `room` says where.
//
// Use: `push` a chunk, then call `next` until it says "more". `request` and `payload` are filled anew by each `next`
// that says "request", and `payload` is good only until the call after it: whoever keeps it copies it.

import { ReusedMemory } from "#host";
import { assert } from "#model";
import { errno } from "./errors.ts";
import { payloadBytesMax } from "./limits.ts";
import type { MetaContext } from "./meta-contexts.ts";
import type { HeaderStyle, NbdRequest, RequestFields } from "./nbd-codec.ts";
import { command, commandFlag, decodeRequest, extendedRequestBytes, requestBytes } from "./nbd-codec.ts";

export type TransmissionEvent = "request" | "more" | "garbage";

/** Less than this is received with what follows it, and copied. */
const directBytesMin = 16 * 1024;

const empty = Buffer.alloc(0);

export class TransmissionMachine {
  readonly request: NbdRequest = {
    ...{ flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 },
    ...{ offsetHigh: 0, offsetLow: 0 },
  };
  /** What came with the request, as the data of a WRITE; empty for others and for a WRITE above the limit, whose data was dropped. */
  payload: Buffer = empty;

  readonly #isExtended: boolean;
  readonly #headerBytes: number;
  #chunk: Buffer = empty;
  #at = 0;
  readonly #header = Buffer.alloc(extendedRequestBytes);
  #headerHeld = 0;
  readonly #memory: ReusedMemory;
  #assembly: Uint8Array = empty;
  #assembled = 0;
  /** Bytes of the current payload still to come: -1 while there is no request. */
  #missing = -1;
  #dropping = false;

  constructor(style: HeaderStyle = "simple", memory: ReusedMemory = new ReusedMemory()) {
    this.#memory = memory;
    this.#isExtended = style === "extended";
    this.#headerBytes = this.#isExtended ? extendedRequestBytes : requestBytes;
  }

  /** Memory that is taken for a payload which is not here in whole, or was just handed on. */
  get assemblyBytes(): number {
    return this.#assembly.length;
  }

  /** Such memory is taken, and its request was not handed on. */
  get isAssembling(): boolean {
    return this.#missing >= 0 && !this.#dropping;
  }

  /** The request was handed on, and its payload is needed no more. */
  release(): void {
    this.#memory.give(this.#assembly);
    this.#assembly = empty;
  }

  /** Nothing more is asked of the machine. The socket may still receive into what it was given, so nobody else is. */
  abandon(): void {
    this.#assembly = empty;
    this.#missing = -1;
  }

  /** Where the next bytes should be received: what is missing of a long payload; null when it does not matter. */
  room(): Uint8Array | null {
    if (this.#missing < directBytesMin || this.#dropping || this.#at < this.#chunk.length) return null;
    return this.#assembly.subarray(this.#assembled, this.#assembled + this.#missing);
  }

  /** The next bytes, which lie where `room` said, if it did, or anywhere else. The chunk before must have been used up. */
  push(chunk: Buffer): void {
    assert(this.#at === this.#chunk.length, "the chunk before is used up");
    if (this.#missing > 0 && chunk.buffer === this.#assembly.buffer) {
      this.#assembled += chunk.length;
      this.#missing -= chunk.length;
      return;
    }
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Whoever gave the chunk takes it back: what is left of it, if anything, is copied. */
  keepRest(): void {
    if (this.#at === this.#chunk.length) this.#chunk = empty;
    else this.#chunk = Buffer.from(this.#chunk.subarray(this.#at));
    this.#at = 0;
  }

  /** The next request that is here in whole. After "garbage" the stream cannot be understood any more. */
  next(): TransmissionEvent {
    if (this.#missing < 0) {
      if (this.#assembly !== empty) this.release();
      if (!this.#takeHeader()) return "more";
      const at = this.#headerHeld === this.#headerBytes ? 0 : this.#at - this.#headerBytes;
      const source = this.#headerHeld === this.#headerBytes ? this.#header : this.#chunk;
      this.#headerHeld = 0;
      if (!decodeRequest(source, at, this.request, this.#isExtended)) return "garbage";
      this.payload = empty;
      if (!this.#hasPayload() || this.request.length === 0) return "request";
      // Of 64 bits: too much to be dropped.
      if (this.#isExtended && this.request.length > payloadBytesMax) return "garbage";
      if (this.#chunk.length - this.#at >= this.request.length && this.request.length <= payloadBytesMax) {
        this.payload = this.#chunk.subarray(this.#at, (this.#at += this.request.length));
        return "request";
      }
      this.#beginPayload();
    }
    return this.#takePayload() ? "request" : "more";
  }

  /** Extended requests say so themselves. */
  #hasPayload(): boolean {
    const { type, flags } = this.request;
    return this.#isExtended ? (flags & commandFlag.payloadLength) !== 0 : type === command.write;
  }

  #takeHeader(): boolean {
    const available = this.#chunk.length - this.#at;
    if (this.#headerHeld === 0 && available >= this.#headerBytes) {
      this.#at += this.#headerBytes;
      return true;
    }
    const taken = Math.min(available, this.#headerBytes - this.#headerHeld);
    this.#chunk.copy(this.#header, this.#headerHeld, this.#at, this.#at + taken);
    this.#headerHeld += taken;
    this.#at += taken;
    return this.#headerHeld === this.#headerBytes;
  }

  #beginPayload(): void {
    const { length } = this.request;
    this.#missing = length;
    this.#assembled = 0;
    this.#dropping = length > payloadBytesMax;
    if (!this.#dropping) this.#assembly = this.#memory.take(length);
  }

  #takePayload(): boolean {
    const taken = Math.min(this.#chunk.length - this.#at, this.#missing);
    if (!this.#dropping) this.#chunk.copy(this.#assembly, this.#assembled, this.#at, this.#at + taken);
    this.#at += taken;
    this.#assembled += taken;
    this.#missing -= taken;
    if (this.#missing > 0) return false;
    this.#missing = -1;
    const { buffer, byteOffset, length } = this.#assembly;
    if (!this.#dropping) this.payload = Buffer.from(buffer, byteOffset, length);
    return true;
  }
}

/** What a request is checked against. */
export interface ServedExport {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly style: HeaderStyle;
  /** What BLOCK_STATUS tells of. */
  readonly contexts: readonly MetaContext[];
}

/** Zero when the request may go to the device, else the error it is answered with. The length of a BLOCK_STATUS with a payload is checked later. */
export function checkRequest(request: RequestFields, served: ServedExport): number {
  const { type, flags, offset, length } = request;
  if ((flags & ~allowedFlags(type, served)) !== 0) return errno.invalid;
  switch (type) {
    case command.flush:
      return errno.none;
    case command.read:
      if (length > payloadBytesMax) return errno.invalid;
      return isInside(offset, length, served.sizeBytes) ? errno.none : errno.invalid;
    case command.cache:
      return isInside(offset, length, served.sizeBytes) ? errno.none : errno.invalid;
    case command.write:
      if (served.readOnly) return errno.permission;
      if (length > payloadBytesMax || lacksPayload(flags, served)) return errno.invalid;
      return isInside(offset, length, served.sizeBytes) ? errno.none : errno.noSpace;
    case command.writeZeroes:
      if (served.readOnly) return errno.permission;
      return isInside(offset, length, served.sizeBytes) ? errno.none : errno.noSpace;
    case command.trim:
      if (served.readOnly) return errno.permission;
      return isInside(offset, length, served.sizeBytes) ? errno.none : errno.invalid;
    case command.blockStatus:
      if (served.contexts.length === 0) return errno.invalid;
      if ((flags & commandFlag.payloadLength) !== 0) return errno.none;
      return length > 0 && isInside(offset, length, served.sizeBytes) ? errno.none : errno.invalid;
    default:
      return errno.invalid;
  }
}

/** FUA may stand on any command; the others only where the protocol gives them a meaning. */
function allowedFlags(type: number, { style }: ServedExport): number {
  const payload = style === "extended" ? commandFlag.payloadLength : 0;
  if (type === command.writeZeroes) return commandFlag.fua | commandFlag.noHole | commandFlag.fastZero;
  if (type === command.read && style !== "simple") return commandFlag.fua | commandFlag.df;
  if (type === command.write) return commandFlag.fua | payload;
  if (type === command.blockStatus) return commandFlag.fua | commandFlag.requestOne | payload;
  return commandFlag.fua;
}

function lacksPayload(flags: number, { style }: ServedExport): boolean {
  return style === "extended" && (flags & commandFlag.payloadLength) === 0;
}

export function isInside(offset: number, length: number, sizeBytes: number): boolean {
  return length <= sizeBytes && offset <= sizeBytes - length;
}
