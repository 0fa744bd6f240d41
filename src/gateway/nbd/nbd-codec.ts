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
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const;

export const reply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errorUnsupported: 0x80000001,
  errorPolicy: 0x80000002,
  errorInvalid: 0x80000003,
  errorTlsRequired: 0x80000005,
  errorUnknown: 0x80000006,
  errorShutdown: 0x80000007,
  errorTooBig: 0x80000009,
  errorExtendedHeadersRequired: 0x8000000a,
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

/** The greeting, and the answer to EXPORT_NAME of a client that wants no zeroes. */
export const entranceBytes = 18 + 10;

/** All that a client says which enters an export by EXPORT_NAME. */
export function encodeEntrance(name: string): Buffer {
  const nameBytes = Buffer.from(name);
  const head = Buffer.alloc(clientFlagsBytes + optionHeaderBytes);
  head.writeUInt32BE(clientFlag.fixedNewstyle | clientFlag.noZeroes, 0);
  head.writeUInt32BE(magicOption[0], 4);
  head.writeUInt32BE(magicOption[1], 8);
  head.writeUInt32BE(option.exportName, 12);
  head.writeUInt32BE(nameBytes.length, 16);
  return Buffer.concat([head, nameBytes]);
}

/** What the server says to that; null when it is something else. */
export function decodeEntrance(bytes: Buffer): { sizeBytes: number; flags: number } | null {
  if (!bytes.subarray(0, 18).equals(encodeGreeting())) return null;
  const sizeBytes = bytes.readUInt32BE(18) * u32 + bytes.readUInt32BE(22);
  return { sizeBytes, flags: bytes.readUInt16BE(26) };
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

export interface ContextRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT, or null when it does not add up. */
export function decodeContextRequest(data: Buffer): ContextRequest | null {
  let at = 0;
  const number = (): number => {
    const value = data.length - at < 4 ? -1 : data.readUInt32BE(at);
    at += 4;
    return value;
  };
  const text = (): string | null => {
    const length = number();
    if (length < 0 || length > data.length - at) return null;
    at += length;
    return decodeString(data.subarray(at - length, at));
  };
  const name = text();
  if (name === null) return null;
  const queries: string[] = [];
  for (let left = number(); left !== 0; left -= 1) {
    const query = left < 0 ? null : text();
    if (query === null) return null;
    queries.push(query);
  }
  return at === data.length ? { name, queries } : null;
}

/** One context of an export. */
export function encodeContextReply(to: number, id: number, name: string): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(id, 0);
  return encodeOptionReply(to, reply.metaContext, Buffer.concat([head, encodeString(name)]));
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

export function writeU64(target: Buffer, value: number, at: number): void {
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
  sendFastZero: 1 << 11,
  blockStatusPayload: 1 << 12,
} as const;

export const command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const commandFlag = {
  fua: 1 << 0,
  noHole: 1 << 1,
  df: 1 << 2,
  requestOne: 1 << 3,
  fastZero: 1 << 4,
  payloadLength: 1 << 5,
} as const;

/** How requests and replies look, as negotiated. */
export type HeaderStyle = "simple" | "structured" | "extended";

/** Bytes of a request without its payload: what STRUCTURED_REPLY changes are the replies alone. */
export const requestBytes = 28;
export const extendedRequestBytes = 32;

const magicRequest = 0x25609513;
const magicExtendedRequest = 0x21e41c71;

/** What a request says. */
export interface RequestFields {
  flags: number;
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** Above 2^53 the last bits are lost; such an offset is outside every export. */
  offset: number;
  /** Of the range, or of the payload where there is one; above 2^53 as an offset. */
  length: number;
}

/** A request as decoded; one object is filled again and again. */
export interface NbdRequest extends RequestFields {
  /** The offset to the last bit, for replies that repeat it. */
  offsetHigh: number;
  offsetLow: number;
}

/** Fills `request` from the 28 bytes at `at`, or the 32 of an extended one; false when the magic is wrong. */
export function decodeRequest(bytes: Buffer, at: number, request: NbdRequest, isExtended = false): boolean {
  if (bytes.readUInt32BE(at) !== (isExtended ? magicExtendedRequest : magicRequest)) return false;
  request.flags = bytes.readUInt16BE(at + 4);
  request.type = bytes.readUInt16BE(at + 6);
  request.cookieHigh = bytes.readUInt32BE(at + 8);
  request.cookieLow = bytes.readUInt32BE(at + 12);
  request.offsetHigh = bytes.readUInt32BE(at + 16);
  request.offsetLow = bytes.readUInt32BE(at + 20);
  request.offset = request.offsetHigh * u32 + request.offsetLow;
  request.length = bytes.readUInt32BE(at + 24);
  if (isExtended) request.length = request.length * u32 + bytes.readUInt32BE(at + 28);
  return true;
}

/** For clients of tests. */
export function encodeRequest(
  request: RequestFields,
  payload: Buffer = Buffer.alloc(0),
  isExtended = false,
): Buffer {
  const headerBytes = isExtended ? extendedRequestBytes : requestBytes;
  const bytes = Buffer.alloc(headerBytes + payload.length);
  bytes.writeUInt32BE(isExtended ? magicExtendedRequest : magicRequest, 0);
  bytes.writeUInt16BE(request.flags, 4);
  bytes.writeUInt16BE(request.type, 6);
  bytes.writeUInt32BE(request.cookieHigh, 8);
  bytes.writeUInt32BE(request.cookieLow, 12);
  writeU64(bytes, request.offset, 16);
  if (isExtended) writeU64(bytes, request.length, 24);
  else bytes.writeUInt32BE(request.length, 24);
  payload.copy(bytes, headerBytes);
  return bytes;
}
