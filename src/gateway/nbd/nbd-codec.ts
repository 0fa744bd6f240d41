// The bytes of the NBD protocol, fixed newstyle (https://github.com/NetworkBlockDevice/nbd, doc/proto.md).
// All integers are big endian. 64-bit cookies are opaque and kept as two halves, so that no BigInt is made per
// request; sizes and offsets are numbers, exact up to 2^53, far above the largest volume.

import { stringBytesMax } from "./limits.ts";

const u32 = 2 ** 32;

// ---- handshake -----------------------------------------------------------------------------------------------

const magicNbd = [0x4e42444d, 0x41474943] as const; // "NBDMAGIC"
const magicOption = [0x49484156, 0x454f5054] as const; // "IHAVEOPT"
const magicOptionReply = [0x0003e889, 0x045565a9] as const;

export const clientFlagsBytes = 4;
export const optionHeaderBytes = 16;

const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;
const clientFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

/** Options we know the meaning of; every other number is answered "unsupported". */
export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
} as const;

export const reply = {
  ack: 1,
  server: 2,
  info: 3,
  errorUnsupported: 0x80000001,
  errorPolicy: 0x80000002,
  errorInvalid: 0x80000003,
  errorUnknown: 0x80000006,
  errorShutdown: 0x80000007,
  errorTooBig: 0x80000009,
} as const;

export type OptionReplyType = (typeof reply)[keyof typeof reply];

export const information = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** The server's first words. */
export function encodeGreeting(): Buffer {
  const bytes = Buffer.alloc(18);
  bytes.writeUInt32BE(magicNbd[0], 0);
  bytes.writeUInt32BE(magicNbd[1], 4);
  bytes.writeUInt32BE(magicOption[0], 8);
  bytes.writeUInt32BE(magicOption[1], 12);
  bytes.writeUInt16BE(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes, 16);
  return bytes;
}

/** The client's answer, or null when it sets a flag that we did not offer. */
export function decodeClientFlags(bytes: Buffer): { noZeroes: boolean } | null {
  const flags = bytes.readUInt32BE(0);
  if ((flags & ~(clientFlag.fixedNewstyle | clientFlag.noZeroes)) !== 0) return null;
  return { noZeroes: (flags & clientFlag.noZeroes) !== 0 };
}

/** The 16 bytes before an option's data, or null when the magic is wrong. */
export function decodeOptionHeader(bytes: Buffer): { option: number; length: number } | null {
  if (bytes.readUInt32BE(0) !== magicOption[0] || bytes.readUInt32BE(4) !== magicOption[1]) return null;
  return { option: bytes.readUInt32BE(8), length: bytes.readUInt32BE(12) };
}

export function encodeOptionReply(to: number, type: OptionReplyType, data: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(20 + data.length);
  bytes.writeUInt32BE(magicOptionReply[0], 0);
  bytes.writeUInt32BE(magicOptionReply[1], 4);
  bytes.writeUInt32BE(to, 8);
  bytes.writeUInt32BE(type, 12);
  bytes.writeUInt32BE(data.length, 16);
  data.copy(bytes, 20);
  return bytes;
}

/** An error reply with a message for a person. */
export function encodeOptionError(to: number, type: OptionReplyType, message: string): Buffer {
  return encodeOptionReply(to, type, encodeString(message));
}

/** One export of a LIST. */
export function encodeServerReply(name: string, description: string): Buffer {
  const nameBytes = encodeString(name);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(nameBytes.length, 0);
  return encodeOptionReply(
    option.list,
    reply.server,
    Buffer.concat([head, nameBytes, encodeString(description)]),
  );
}

export function encodeInfoExport(to: number, sizeBytes: number, flags: number): Buffer {
  const data = Buffer.alloc(12);
  data.writeUInt16BE(information.export, 0);
  writeU64(data, sizeBytes, 2);
  data.writeUInt16BE(flags, 10);
  return encodeOptionReply(to, reply.info, data);
}

export function encodeInfoText(
  to: number,
  kind: typeof information.name | typeof information.description,
  text: string,
): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(kind, 0);
  return encodeOptionReply(to, reply.info, Buffer.concat([head, encodeString(text)]));
}

export function encodeInfoBlockSize(
  to: number,
  minimumBytes: number,
  preferredBytes: number,
  maximumBytes: number,
): Buffer {
  const data = Buffer.alloc(14);
  data.writeUInt16BE(information.blockSize, 0);
  data.writeUInt32BE(minimumBytes, 2);
  data.writeUInt32BE(preferredBytes, 6);
  data.writeUInt32BE(maximumBytes, 10);
  return encodeOptionReply(to, reply.info, data);
}

/** The answer to EXPORT_NAME, which has no reply header. */
export function encodeExportNameReply(sizeBytes: number, flags: number, noZeroes: boolean): Buffer {
  const bytes = Buffer.alloc(noZeroes ? 10 : 134);
  writeU64(bytes, sizeBytes, 0);
  bytes.writeUInt16BE(flags, 8);
  return bytes;
}

export interface InfoRequest {
  readonly name: string;
  readonly wants: readonly number[];
}

/** Data of INFO and GO, or null when it does not add up. */
export function decodeInfoRequest(data: Buffer): InfoRequest | null {
  if (data.length < 6) return null;
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 6) return null;
  const name = decodeString(data.subarray(4, 4 + nameBytes));
  const count = data.readUInt16BE(4 + nameBytes);
  const start = 6 + nameBytes;
  if (name === null || data.length !== start + count * 2) return null;
  const wants: number[] = [];
  for (let index = 0; index < count; index += 1) wants.push(data.readUInt16BE(start + index * 2));
  return { name, wants };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A string of the protocol, or null: UTF-8 without NUL, at most 4096 bytes. */
export function decodeString(bytes: Buffer): string | null {
  if (bytes.length > stringBytesMax || bytes.includes(0)) return null;
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

/** UTF-8, without NUL, cut at a character so that it keeps the protocol's limit. */
export function encodeString(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll("\0", " "), "utf8");
  if (bytes.length <= stringBytesMax) return bytes;
  let end = stringBytesMax;
  while ((bytes[end] & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end);
}

function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32BE(Math.floor(value / u32), at);
  target.writeUInt32BE(value % u32, at + 4);
}

// ---- transmission --------------------------------------------------------------------------------------------

/** What an export can do, told once in the handshake. */
export const transmissionFlag = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
  sendCache: 1 << 10,
} as const;

export const command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
} as const;

export const commandFlag = { fua: 1 << 0, noHole: 1 << 1, df: 1 << 2 } as const;

export const requestBytes = 28;
export const simpleReplyBytes = 16;
/** Header of a structured chunk, and of one that carries data at an offset. */
export const chunkHeaderBytes = 20;
export const dataChunkHeaderBytes = 28;

const magicRequest = 0x25609513;
const magicSimpleReply = 0x67446698;
const magicChunk = 0x668e33ef;

const chunkFlagDone = 1;
const chunkType = { none: 0, offsetData: 1, error: 0x8001 } as const;

/** A request as decoded; one object is filled again and again. */
export interface NbdRequest {
  flags: number;
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** Above 2^53 the last bits are lost; such an offset is outside every export. */
  offset: number;
  length: number;
}

/** Fills `request` from the 28 bytes at `at`; false when the magic is wrong. */
export function decodeRequest(bytes: Buffer, at: number, request: NbdRequest): boolean {
  if (bytes.readUInt32BE(at) !== magicRequest) return false;
  request.flags = bytes.readUInt16BE(at + 4);
  request.type = bytes.readUInt16BE(at + 6);
  request.cookieHigh = bytes.readUInt32BE(at + 8);
  request.cookieLow = bytes.readUInt32BE(at + 12);
  request.offset = bytes.readUInt32BE(at + 16) * u32 + bytes.readUInt32BE(at + 20);
  request.length = bytes.readUInt32BE(at + 24);
  return true;
}

/** For clients of tests. */
export function encodeRequest(request: NbdRequest, payload: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(requestBytes + payload.length);
  bytes.writeUInt32BE(magicRequest, 0);
  bytes.writeUInt16BE(request.flags, 4);
  bytes.writeUInt16BE(request.type, 6);
  bytes.writeUInt32BE(request.cookieHigh, 8);
  bytes.writeUInt32BE(request.cookieLow, 12);
  writeU64(bytes, request.offset, 16);
  bytes.writeUInt32BE(request.length, 24);
  payload.copy(bytes, requestBytes);
  return bytes;
}

/** 16 bytes; data of a READ follows when `errno` is zero. */
export function encodeSimpleReply(
  target: Buffer,
  at: number,
  errno: number,
  high: number,
  low: number,
): void {
  target.writeUInt32BE(magicSimpleReply, at);
  target.writeUInt32BE(errno, at + 4);
  target.writeUInt32BE(high, at + 8);
  target.writeUInt32BE(low, at + 12);
}

/** 28 bytes, the one and last chunk of a READ of `length` bytes, at least one; the data follows. */
export function encodeDataChunk(
  target: Buffer,
  at: number,
  high: number,
  low: number,
  offset: number,
  length: number,
): void {
  encodeChunkHeader(target, at, chunkType.offsetData, high, low, length + 8);
  writeU64(target, offset, at + 20);
}

/** 20 bytes: done, and nothing to say. */
export function encodeDoneChunk(target: Buffer, at: number, high: number, low: number): void {
  encodeChunkHeader(target, at, chunkType.none, high, low, 0);
}

/** A whole chunk: the request failed, and why in words. */
export function encodeErrorChunk(errno: number, message: string, high: number, low: number): Buffer {
  const text = encodeString(message);
  const bytes = Buffer.alloc(chunkHeaderBytes + 6 + text.length);
  encodeChunkHeader(bytes, 0, chunkType.error, high, low, 6 + text.length);
  bytes.writeUInt32BE(errno, chunkHeaderBytes);
  bytes.writeUInt16BE(text.length, chunkHeaderBytes + 4);
  text.copy(bytes, chunkHeaderBytes + 6);
  return bytes;
}

function encodeChunkHeader(
  target: Buffer,
  at: number,
  type: number,
  high: number,
  low: number,
  length: number,
): void {
  target.writeUInt32BE(magicChunk, at);
  target.writeUInt16BE(chunkFlagDone, at + 4);
  target.writeUInt16BE(type, at + 6);
  target.writeUInt32BE(high, at + 8);
  target.writeUInt32BE(low, at + 12);
  target.writeUInt32BE(length, at + 16);
}
