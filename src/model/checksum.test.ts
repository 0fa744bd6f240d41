// Checksums: the native and the built-in one agree, and pages add up to their block.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 as zlibCrc32 } from "node:zlib";
import { crc32, crc32AppendPage, pagesMatch } from "./checksum.ts";
import { pageBytes } from "./limits.ts";

test("crc32 agrees with zlib for any length and seed", () => {
  for (const length of [0, 1, 7, 64, 4096, 10_000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 131 + length) & 255);
    assert.equal(crc32(bytes), zlibCrc32(bytes));
    assert.equal(crc32(bytes, 12345), zlibCrc32(bytes, 12345));
  }
});

test("the checksum of pages is that of their bytes", () => {
  let combined = 0;
  const all = new Uint8Array(8 * pageBytes);
  for (let page = 0; page < 8; page++) {
    const bytes = all.subarray(page * pageBytes, (page + 1) * pageBytes);
    for (let i = 0; i < pageBytes; i++) bytes[i] = (i * (page + 3) + (i >> 5)) & 255;
    combined = crc32AppendPage(combined, crc32(bytes));
    assert.equal(combined, crc32(all.subarray(0, (page + 1) * pageBytes)));
  }
});

test("pages match only if each is what its checksum says", () => {
  const bytes = Uint8Array.from({ length: 5 * pageBytes }, (_, i) => (i * 31 + (i >> 7)) & 255);
  const page = (at: number): Uint8Array => bytes.subarray(at * pageBytes, (at + 1) * pageBytes);
  const checksums = Uint32Array.from({ length: 5 }, (_, at) => crc32(page(at)));
  assert.ok(pagesMatch(bytes, checksums, 0));
  assert.ok(pagesMatch(bytes.subarray(pageBytes, 3 * pageBytes), checksums, 1));
  assert.ok(pagesMatch(page(4), checksums, 4));
  assert.ok(!pagesMatch(page(4), checksums, 3));
  for (let at = 0; at < bytes.length; at += 997) {
    bytes[at] ^= 1 << (at % 8);
    assert.ok(!pagesMatch(bytes, checksums, 0));
    bytes[at] ^= 1 << (at % 8);
  }
});
