// CRC-32 (IEEE, as in gzip and S3): the native addon where its binary loads, node:zlib otherwise, same
// polynomial. `Crc32OfPages` builds the checksum of a run of pages from the pages' own checksums by
// table look-ups, so a byte is summed once on its way to the disk.

import { createRequire } from "node:module";
import { crc32 as zlibCrc32 } from "node:zlib";
import { pageBytes } from "./limits.ts";

type Crc32 = (bytes: Uint8Array, seed?: number) => number;

function loadCrc32(): Crc32 {
  try {
    const addon = createRequire(import.meta.url)("@node-rs/crc32") as { crc32: Crc32 };
    if (addon.crc32(new Uint8Array([1, 2, 3, 4])) === zlibCrc32(new Uint8Array([1, 2, 3, 4])))
      return addon.crc32;
  } catch {
    // No binary of the addon for this platform: zlib's is right everywhere, only slower.
  }
  return zlibCrc32;
}

/** CRC-32 of `bytes`, continuing from `seed` (the checksum of what came before; 0 at the start). */
export const crc32: Crc32 = loadCrc32();

/** What a crc32 becomes when a page of bytes is appended to what it covers: linear, so four tables do. */
const shiftTables: Uint32Array[] = buildShiftTables();

function buildShiftTables(): Uint32Array[] {
  // Appending a page of zeroes maps crc to L(crc) ^ K with K = crc of the zero page; L is linear over GF(2).
  const zeroes = new Uint8Array(pageBytes);
  const constant = zlibCrc32(zeroes, 0);
  const columns = new Uint32Array(32);
  for (let bit = 0; bit < 32; bit++) columns[bit] = (zlibCrc32(zeroes, 2 ** bit) ^ constant) >>> 0;
  return [0, 1, 2, 3].map((byte) => {
    const table = new Uint32Array(256);
    // From the value without its lowest bit: so few steps that no optimizing compiler is woken for them, which takes 8 MiB of memory.
    for (let value = 1; value < 256; value++) {
      const lowest = 31 - Math.clz32(value & -value);
      table[value] = (table[value & (value - 1)] ^ columns[byte * 8 + lowest]) >>> 0;
    }
    return table;
  });
}

/** Each page of `bytes` has its checksum, the first that at `first` of `checksums`. All are looked at in one call. */
export function pagesMatch(bytes: Uint8Array, checksums: Uint32Array, first: number): boolean {
  const end = first + bytes.length / pageBytes;
  let expected = checksums[first];
  for (let at = first + 1; at < end; at++) expected = crc32AppendPage(expected, checksums[at]);
  return crc32(bytes) === expected;
}

/** The crc32 of A followed by page B, from crc32(A) and crc32(B). */
export function crc32AppendPage(before: number, page: number): number {
  const [t0, t1, t2, t3] = shiftTables;
  return (
    (t0[before & 255] ^ t1[(before >>> 8) & 255] ^ t2[(before >>> 16) & 255] ^ t3[before >>> 24] ^ page) >>> 0
  );
}
