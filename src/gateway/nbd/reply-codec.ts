// The bytes of NBD's replies: simple ones, and the chunks of structured and extended ones, which differ in their headers
// alone, but for block status.

import type { Extent } from "#volume";
import { encodeString, writeU64 } from "./nbd-codec.ts";

export const simpleReplyBytes = 16;

const magicSimpleReply = 0x67446698;
const magicChunk = 0x668e33ef;
const magicExtendedChunk = 0x6e8a278c;

const chunkFlagDone = 1;
export const chunkType = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  blockStatusExtended: 6,
  error: 0x8001,
} as const;

/** Identifies a request to its client. */
export interface RequestName {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offsetHigh: number;
  readonly offsetLow: number;
}

export function chunkHeaderBytes(isExtended: boolean): number {
  return isExtended ? 32 : 20;
}

/** 16 bytes; data of a READ follows when `errno` is zero. */
export function encodeSimpleReply(target: Buffer, at: number, errno: number, to: RequestName): void {
  target.writeUInt32BE(magicSimpleReply, at);
  target.writeUInt32BE(errno, at + 4);
  target.writeUInt32BE(to.cookieHigh, at + 8);
  target.writeUInt32BE(to.cookieLow, at + 12);
}

export interface ChunkHead {
  readonly type: number;
  /** The last chunk of its reply. */
  readonly isDone: boolean;
  readonly payloadBytes: number;
}

/** `chunkHeaderBytes` of a chunk; the payload follows. */
export function encodeChunkHeader(
  target: Buffer,
  at: number,
  isExtended: boolean,
  to: RequestName,
  head: ChunkHead,
): void {
  target.writeUInt32BE(isExtended ? magicExtendedChunk : magicChunk, at);
  target.writeUInt16BE(head.isDone ? chunkFlagDone : 0, at + 4);
  target.writeUInt16BE(head.type, at + 6);
  target.writeUInt32BE(to.cookieHigh, at + 8);
  target.writeUInt32BE(to.cookieLow, at + 12);
  if (!isExtended) {
    target.writeUInt32BE(head.payloadBytes, at + 16);
    return;
  }
  target.writeUInt32BE(to.offsetHigh, at + 16);
  target.writeUInt32BE(to.offsetLow, at + 20);
  writeU64(target, head.payloadBytes, at + 24);
}

/** What stands before the data of a READ, or in place of zeroes. */
export const dataOffsetBytes = 8;
export const holeBytes = 12;

export function encodeDataOffset(target: Buffer, at: number, offset: number): void {
  writeU64(target, offset, at);
}

export function encodeHole(target: Buffer, at: number, offset: number, length: number): void {
  writeU64(target, offset, at);
  target.writeUInt32BE(length, at + 8);
}

/** Payload of an error chunk: the request failed, and why in words. */
export function encodeErrorPayload(errno: number, message: string): Buffer {
  const text = encodeString(message);
  const bytes = Buffer.alloc(6 + text.length);
  bytes.writeUInt32BE(errno, 0);
  bytes.writeUInt16BE(text.length, 4);
  text.copy(bytes, 6);
  return bytes;
}

/** Payload of a block status chunk; `flags` are those of marked extents and of the others. */
export function encodeStatusPayload(
  isExtended: boolean,
  contextId: number,
  extents: readonly Extent[],
  flags: { readonly marked: number; readonly others: number },
): Buffer {
  const bytes = Buffer.alloc(isExtended ? 8 + extents.length * 16 : 4 + extents.length * 8);
  bytes.writeUInt32BE(contextId, 0);
  if (isExtended) bytes.writeUInt32BE(extents.length, 4);
  for (const [index, { length, marked }] of extents.entries()) {
    const flag = marked ? flags.marked : flags.others;
    if (isExtended) {
      writeU64(bytes, length, 8 + index * 16);
      writeU64(bytes, flag, 16 + index * 16);
    } else {
      bytes.writeUInt32BE(length, 4 + index * 8);
      bytes.writeUInt32BE(flag, 8 + index * 8);
    }
  }
  return bytes;
}

/** Payload of a BLOCK_STATUS request, or null when it does not add up: the length asked about, and the contexts wanted. */
export function decodeStatusFilter(payload: Buffer): { length: number; ids: readonly number[] } | null {
  if (payload.length < 8 || payload.length % 4 !== 0) return null;
  const ids: number[] = [];
  for (let at = 8; at < payload.length; at += 4) ids.push(payload.readUInt32BE(at));
  if (new Set(ids).size !== ids.length) return null;
  return { length: payload.readUInt32BE(0) * 2 ** 32 + payload.readUInt32BE(4), ids };
}
