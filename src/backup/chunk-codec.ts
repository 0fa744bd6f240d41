// The bytes of a chunk, and of an index of chunks, as objects of a backup (docs/formats/backup.md).
//
//   chunk   0 u32 magic "TBCK"   4 u16 version   6 u8 compression (0 none, 1 zstd)   7 u8 zero   8 u32 length of the content   12 u32 zero
//           16 the content, compressed
//   index   0 u32 magic "TBIX"   4 u16 version   6 u16 zero   8 u32 count   12 u32 zero
//           16 `count` entries, by ascending slot: {u32 slot, 32 bytes SHA-256 of the content of the chunk}

import { TorusError } from "#model";

const chunkMagic = 0x4b434254; // "TBCK"
const indexMagic = 0x58494254; // "TBIX"
const version = 1;
const headerBytes = 16;
const hashBytes = 32;
const entryBytes = 4 + hashBytes;

export const chunkBytesMin = 64 * 1024;
export const chunkBytesMax = 4 * 1024 * 1024;
/** Chunks that one index lists: 256 MiB of a volume with chunks of 256 KiB. */
export const segmentChunks = 1024;

export type Compression = "none" | "zstd";

export interface ChunkFrame {
  readonly compression: Compression;
  /** Bytes of the content. */
  readonly length: number;
  readonly payload: Uint8Array;
}

export function encodeChunk({ compression, length, payload }: ChunkFrame): Uint8Array {
  const bytes = new Uint8Array(headerBytes + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, chunkMagic, true);
  view.setUint16(4, version, true);
  view.setUint8(6, compression === "zstd" ? 1 : 0);
  view.setUint32(8, length, true);
  bytes.set(payload, headerBytes);
  return bytes;
}

/** Throws `corrupt`, or `unsupported` for a later version. The content is not verified yet. */
export function decodeChunk(bytes: Uint8Array): ChunkFrame {
  const view = viewOf(bytes, chunkMagic, "a chunk");
  const compression = view.getUint8(6);
  const length = view.getUint32(8, true);
  const payload = bytes.subarray(headerBytes);
  if (compression > 1)
    throw new TorusError(
      "unsupported",
      `a chunk of a backup is compressed by ${compression}; this Torus has 0 and 1`,
    );
  if (length > chunkBytesMax || (compression === 0 && payload.length !== length))
    throw new TorusError("corrupt", `a chunk of a backup says that it has ${length} bytes, and has others`);
  return { compression: compression === 1 ? "zstd" : "none", length, payload };
}

/** Hashes, in hex, by slot. */
export function encodeIndex(hashes: ReadonlyMap<number, string>): Uint8Array {
  const bytes = Buffer.alloc(headerBytes + hashes.size * entryBytes);
  bytes.writeUInt32LE(indexMagic, 0);
  bytes.writeUInt16LE(version, 4);
  bytes.writeUInt32LE(hashes.size, 8);
  let at = headerBytes;
  for (const slot of [...hashes.keys()].sort((a, b) => a - b)) {
    bytes.writeUInt32LE(slot, at);
    bytes.write(hashes.get(slot) ?? "", at + 4, "hex");
    at += entryBytes;
  }
  return bytes;
}

/** Throws `corrupt`, or `unsupported` for a later version. */
export function decodeIndex(bytes: Uint8Array): Map<number, string> {
  const view = viewOf(bytes, indexMagic, "an index");
  const count = view.getUint32(8, true);
  if (count > segmentChunks || bytes.length !== headerBytes + count * entryBytes)
    throw new TorusError("corrupt", "an index of a backup is not as long as it says");
  const hashes = new Map<number, string>();
  let after = -1;
  for (let i = 0; i < count; i++) {
    const at = headerBytes + i * entryBytes;
    const slot = view.getUint32(at, true);
    if (slot <= after || slot >= segmentChunks)
      throw new TorusError("corrupt", "an index of a backup has a slot out of order");
    after = slot;
    hashes.set(slot, Buffer.from(bytes.buffer, bytes.byteOffset + at + 4, hashBytes).toString("hex"));
  }
  return hashes;
}

function viewOf(bytes: Uint8Array, magic: number, what: string): DataView {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < headerBytes || view.getUint32(0, true) !== magic)
    throw new TorusError("corrupt", `${what} of a backup does not begin as one`);
  const found = view.getUint16(4, true);
  if (found !== version)
    throw new TorusError(
      "unsupported",
      `${what} of a backup has format ${found}; this Torus reads ${version}`,
    );
  return view;
}
