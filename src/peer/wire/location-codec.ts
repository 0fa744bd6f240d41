// The answer to locate: where a block lies in the file of a store.
//
//   0  u64 offset of the block   8 u64 offset of its entry   16 u32 length   20 u16 bytes of the boot id   22 u16 of the path
//   24 the entry, 64 bytes   88 the two texts, UTF-8

import type { BlockLocation } from "#model";
import { bootIdCharsMax, locationEntryBytes, locationPathBytesMax, TorusError } from "#model";
import type { FrameScratch } from "./frame-codec.ts";
import { frameHeaderBytes, locationHeadBytes } from "./frame-codec.ts";
import { readUint64, writeUint64 } from "./uint64.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const entryAt = 24;

/** Encodes `location` into `scratch`; returns its length. Throws `unsupported` where its texts are too long to be told. */
export function encodeLocation(scratch: FrameScratch, location: BlockLocation): number {
  const [bootId, path] = [encoder.encode(location.bootId), encoder.encode(location.path)];
  if (bootId.length > bootIdCharsMax || path.length > locationPathBytesMax)
    throw new TorusError("unsupported", "the path of the store's file is too long to be told");
  const argumentBytes = locationHeadBytes + bootId.length + path.length;
  scratch.reserve(argumentBytes);
  const { view, bytes } = scratch;
  const at = frameHeaderBytes;
  writeUint64(view, at, location.offset);
  writeUint64(view, at + 8, location.entryOffset);
  view.setUint32(at + 16, location.length, true);
  view.setUint16(at + 20, bootId.length, true);
  view.setUint16(at + 22, path.length, true);
  bytes.set(location.entry.subarray(0, locationEntryBytes), at + entryAt);
  bytes.set(bootId, at + locationHeadBytes);
  bytes.set(path, at + locationHeadBytes + bootId.length);
  return argumentBytes;
}

/** Throws `protocol` for anything `encodeLocation` did not write. */
export function readLocation(view: DataView, at: number, argumentBytes: number): BlockLocation {
  const isWhole = argumentBytes >= locationHeadBytes;
  const bootIdBytes = isWhole ? view.getUint16(at + 20, true) : 0;
  const pathBytes = isWhole ? view.getUint16(at + 22, true) : 0;
  if (!isWhole || argumentBytes !== locationHeadBytes + bootIdBytes + pathBytes)
    throw new TorusError("protocol", "an answer about a block's place does not have the length it names");
  const part = (from: number, length: number): Uint8Array =>
    new Uint8Array(view.buffer, view.byteOffset + at + from, length);
  return {
    offset: readUint64(view, at),
    entryOffset: readUint64(view, at + 8),
    length: view.getUint32(at + 16, true),
    entry: Uint8Array.from(part(entryAt, locationEntryBytes)),
    bootId: decoder.decode(part(locationHeadBytes, bootIdBytes)),
    path: decoder.decode(part(locationHeadBytes + bootIdBytes, pathBytes)),
  };
}
