// The handshake: the first bytes both ways on every connection, the same in all versions for ever, so that any two
// peers can at least tell each other why they do not understand each other. Little-endian:
//
//   0   9    "TORUSPEER"
//   9   u8   kind: 1 hello (client), 2 welcome, 3 refusal (server)
//   10  u16  bytes of the body
//   12  u32  CRC-32 of the body
//   16       body
//
//   hello:    u16 lowest and u16 highest version spoken, text cluster id, text peer id expected ("" for any)
//   welcome:  u16 version chosen, u64 incarnation, text cluster id, text peer id
//   refusal:  u16 error number (error-codec.ts), u16 bytes of the message, message
//
// A text is u8 bytes and then UTF-8. A body may be longer than what is read of it here: later versions append to it.

import { assert, crc32, TorusError } from "#model";
import { readUint64, writeUint64 } from "./uint64.ts";

export const handshakeHeaderBytes = 16;
export const handshakeBodyBytesMax = 2048;
/** Bytes of a cluster or peer id. */
export const identityBytesMax = 255;

const magic = new TextEncoder().encode("TORUSPEER");
const kinds = { hello: 1, welcome: 2, refusal: 3 } as const;
const refusalMessageBytesMax = 1024;

export interface Hello {
  readonly kind: "hello";
  readonly versionMin: number;
  readonly versionMax: number;
  readonly clusterId: string;
  /** Empty: whoever answers. */
  readonly peer: string;
}

export interface Welcome {
  readonly kind: "welcome";
  readonly version: number;
  readonly incarnation: number;
  readonly clusterId: string;
  readonly peer: string;
}

export interface Refusal {
  readonly kind: "refusal";
  readonly error: number;
  readonly message: string;
}

export type Handshake = Hello | Welcome | Refusal;

export function encodeHandshake(handshake: Handshake): Uint8Array {
  const bytes = new Uint8Array(handshakeHeaderBytes + handshakeBodyBytesMax);
  const view = new DataView(bytes.buffer);
  const end = encodeBody(handshake, bytes, view);
  bytes.set(magic);
  view.setUint8(9, kinds[handshake.kind]);
  view.setUint16(10, end - handshakeHeaderBytes, true);
  view.setUint32(12, crc32(bytes.subarray(handshakeHeaderBytes, end)), true);
  return bytes.slice(0, end);
}

function encodeBody(handshake: Handshake, bytes: Uint8Array, view: DataView): number {
  const at = handshakeHeaderBytes;
  switch (handshake.kind) {
    case "hello": {
      view.setUint16(at, handshake.versionMin, true);
      view.setUint16(at + 2, handshake.versionMax, true);
      return writeText(bytes, writeText(bytes, at + 4, handshake.clusterId), handshake.peer);
    }
    case "welcome": {
      view.setUint16(at, handshake.version, true);
      writeUint64(view, at + 2, handshake.incarnation);
      return writeText(bytes, writeText(bytes, at + 10, handshake.clusterId), handshake.peer);
    }
    case "refusal": {
      const place = bytes.subarray(at + 4, at + 4 + refusalMessageBytesMax);
      const { written } = new TextEncoder().encodeInto(handshake.message, place);
      view.setUint16(at, handshake.error, true);
      view.setUint16(at + 2, written, true);
      return at + 4 + written;
    }
  }
}

/**
 * The handshake at the start of `bytes` and how many bytes it takes, or null while more must come. Throws `protocol` at the
 * first byte that shows it is none.
 */
export function decodeHandshake(
  bytes: Uint8Array,
): { readonly handshake: Handshake; readonly length: number } | null {
  for (let i = 0; i < Math.min(magic.length, bytes.length); i++) {
    if (bytes[i] !== magic[i]) throw new TorusError("protocol", "it does not begin as a Torus peer does");
  }
  if (bytes.length < handshakeHeaderBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const bodyBytes = view.getUint16(10, true);
  if (bodyBytes > handshakeBodyBytesMax) {
    throw new TorusError(
      "protocol",
      `its handshake has ${bodyBytes} bytes, at most ${handshakeBodyBytesMax} are allowed`,
    );
  }
  const length = handshakeHeaderBytes + bodyBytes;
  if (bytes.length < length) return null;
  if (crc32(bytes.subarray(handshakeHeaderBytes, length)) !== view.getUint32(12, true)) {
    throw new TorusError("protocol", "its handshake does not match its checksum");
  }
  return {
    handshake: decodeBody(bytes[9], new BodyReader(bytes.subarray(handshakeHeaderBytes, length))),
    length,
  };
}

function decodeBody(kind: number, body: BodyReader): Handshake {
  switch (kind) {
    case kinds.hello:
      return {
        kind: "hello",
        versionMin: body.uint16(),
        versionMax: body.uint16(),
        clusterId: body.text(body.uint8()),
        peer: body.text(body.uint8()),
      };
    case kinds.welcome:
      return {
        kind: "welcome",
        version: body.uint16(),
        incarnation: body.uint64(),
        clusterId: body.text(body.uint8()),
        peer: body.text(body.uint8()),
      };
    case kinds.refusal:
      return { kind: "refusal", error: body.uint16(), message: body.text(body.uint16()) };
    default:
      throw new TorusError("protocol", `its handshake is of kind ${kind}, which does not exist`);
  }
}

function writeText(bytes: Uint8Array, at: number, text: string): number {
  const encoded = new TextEncoder().encode(text);
  assert(encoded.length <= identityBytesMax, "a cluster or peer id has at most 255 bytes");
  bytes[at] = encoded.length;
  bytes.set(encoded, at + 1);
  return at + 1 + encoded.length;
}

/** Takes fields one after another; throws `protocol` at the end of the body. */
class BodyReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  uint8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  uint64(): number {
    return readUint64(this.#view, this.#take(8));
  }

  text(length: number): string {
    const at = this.#take(length);
    return new TextDecoder().decode(this.#bytes.subarray(at, at + length));
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw new TorusError("protocol", "its handshake ends too early");
    this.#at = at + length;
    return at;
  }
}
