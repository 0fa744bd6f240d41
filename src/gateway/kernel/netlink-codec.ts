// Generic netlink: messages of programs and the kernel to each other, in this machine's byte order, which is little-endian on every machine
// that this runs on. A message is a header, a command of a family, and attributes, which may hold attributes themselves. Source: the
// kernel's Documentation/userspace-api/netlink/intro.rst, linux/netlink.h and linux/genetlink.h.

import { assert, TorusError } from "#model";

/** The protocol of a netlink socket that generic netlink is spoken on. */
export const genericNetlink = 16;

export const headerBytes = 16;
const commandBytes = 4;
const attributeBytes = 4;
const errorType = 2;
const lowestFamily = 16;
/** The request flag, and that for an acknowledgement. */
const requestFlags = 1 | 4;
/** Of an attribute's type: it holds attributes. And: it is in network order, which is nobody's business here. */
const nestedFlag = 0x8000;
const typeBits = 0x3fff;
const attributeLengthMax = 0xffff;
/** A message of the kernel has few; more is not understood. */
const attributesMax = 256;
const messagesMax = 256;

/** An attribute to send: a number of a width, a text, or attributes. */
export type AttributeValue =
  | { readonly u32: number }
  | { readonly u64: number }
  | { readonly text: string }
  | { readonly nested: readonly Attribute[] };

export interface Attribute {
  readonly type: number;
  readonly value: AttributeValue;
}

export interface NetlinkRequest {
  /** Who is spoken to: a number that the kernel gives each family. */
  readonly family: number;
  readonly sequence: number;
  readonly command: number;
  readonly version: number;
  readonly attributes: readonly Attribute[];
}

/** An attribute that came. */
export interface ReceivedAttribute {
  readonly type: number;
  readonly bytes: Uint8Array;
}

export type NetlinkMessage =
  /** The end of a request: 0, or why it was not done, as a positive errno. */
  | { readonly kind: "done"; readonly sequence: number; readonly errno: number }
  | {
      readonly kind: "answer";
      readonly sequence: number;
      readonly command: number;
      readonly attributes: readonly ReceivedAttribute[];
    };

export function encodeRequest({ family, sequence, command, version, attributes }: NetlinkRequest): Buffer {
  const body = encodeAttributes(attributes);
  const head = Buffer.alloc(headerBytes + commandBytes);
  head.writeUInt32LE(head.length + body.length, 0);
  head.writeUInt16LE(family, 4);
  head.writeUInt16LE(requestFlags, 6);
  head.writeUInt32LE(sequence, 8);
  head.writeUInt8(command, 16);
  head.writeUInt8(version, 17);
  return Buffer.concat([head, body]);
}

function encodeAttributes(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(attributes.map(encodeAttribute));
}

function encodeAttribute({ type, value }: Attribute): Buffer {
  const content = encodeValue(value);
  const length = attributeBytes + content.length;
  assert(length <= attributeLengthMax, "an attribute fits its length");
  const bytes = Buffer.alloc(padded(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE("nested" in value ? type | nestedFlag : type, 2);
  content.copy(bytes, attributeBytes);
  return bytes;
}

function encodeValue(value: AttributeValue): Buffer {
  if ("nested" in value) return encodeAttributes(value.nested);
  if ("text" in value) return Buffer.from(`${value.text}\0`);
  if ("u32" in value) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value.u32);
    return bytes;
  }
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value.u64));
  return bytes;
}

/** The messages of one datagram. Throws `corrupt` for what is not netlink. */
export function decodeMessages(datagram: Uint8Array): NetlinkMessage[] {
  const bytes = bufferOf(datagram);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < headerBytes || messages.length === messagesMax) throw notNetlink(datagram);
    const length = bytes.readUInt32LE(at);
    if (length < headerBytes || length > bytes.length - at) throw notNetlink(datagram);
    const message = decodeMessage(bytes.subarray(at, at + length));
    if (message !== null) messages.push(message);
    at += padded(length);
  }
  return messages;
}

/** Null for what is nobody's answer. */
function decodeMessage(bytes: Buffer): NetlinkMessage | null {
  const type = bytes.readUInt16LE(4);
  const sequence = bytes.readUInt32LE(8);
  if (type === errorType) {
    if (bytes.length < headerBytes + 4) throw notNetlink(bytes);
    return { kind: "done", sequence, errno: -bytes.readInt32LE(headerBytes) | 0 };
  }
  if (type < lowestFamily) return null;
  if (bytes.length < headerBytes + commandBytes) throw notNetlink(bytes);
  const attributes = decodeAttributes(bytes.subarray(headerBytes + commandBytes));
  return { kind: "answer", sequence, command: bytes.readUInt8(headerBytes), attributes };
}

/** What an attribute holds that holds attributes, or a message. Throws `corrupt`. */
export function decodeAttributes(content: Uint8Array): ReceivedAttribute[] {
  const bytes = bufferOf(content);
  const attributes: ReceivedAttribute[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < attributeBytes || attributes.length === attributesMax) throw notNetlink(content);
    const length = bytes.readUInt16LE(at);
    if (length < attributeBytes || length > bytes.length - at) throw notNetlink(content);
    const type = bytes.readUInt16LE(at + 2) & typeBits;
    attributes.push({ type, bytes: bytes.subarray(at + attributeBytes, at + length) });
    at += padded(length);
  }
  return attributes;
}

/** The value of the first attribute of that type; null when there is none of that width. */
export function numberOf(
  attributes: readonly ReceivedAttribute[],
  type: number,
  width: 2 | 4,
): number | null {
  const found = attributes.find((attribute) => attribute.type === type);
  return found?.bytes.length === width ? bufferOf(found.bytes).readUIntLE(0, width) : null;
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function notNetlink(bytes: Uint8Array): TorusError {
  return new TorusError("corrupt", `the kernel sent ${bytes.length} bytes that are no netlink messages`);
}
