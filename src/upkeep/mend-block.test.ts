// A block put together from damaged copies: whenever each page is right somewhere and the tries suffice, and never wrongly.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { crc32, pageBytes } from "#model";
import { mendBlock } from "./mend-block.ts";

const pages = 12;
const block = new Uint8Array(pages * pageBytes - 100).map((_, i) => (i * 7 + (i >> 8)) & 255);
const checksum = crc32(block);

it("mending: pages damaged in one copy of three each", () => {
  const copies = [block.slice(), block.slice(), block.slice()];
  for (let page = 0; page < pages; page++) copies[page % 3][page * pageBytes + 5] ^= 1;
  assert.deepEqual(mendBlock(copies, checksum), block);
});

it("mending: whatever page is right in one copy at least", () => {
  const damage = fc.record({ copy: fc.nat(2), page: fc.nat(pages - 1), at: fc.nat(3000), bit: fc.nat(7) });
  fc.assert(
    fc.property(fc.array(damage, { maxLength: 14 }), fc.constantFrom(2, 3), (damages, count) => {
      const copies = Array.from({ length: count }, () => Buffer.from(block));
      for (const { copy, page, at, bit } of damages) {
        const hurt = copies[copy % count];
        const offset = page * pageBytes + at;
        hurt[offset] ^= 1 << bit;
        const pageOf = (bytes: Uint8Array) => bytes.subarray(page * pageBytes, (page + 1) * pageBytes);
        const isRightSomewhere = copies.some((each) => Buffer.compare(pageOf(each), pageOf(block)) === 0);
        if (!isRightSomewhere) hurt[offset] ^= 1 << bit;
      }
      const mended = mendBlock(copies, checksum);
      if (mended !== null) assert.deepEqual(mended, block);
      const differing = new Set(damages.map(({ page }) => page)).size;
      if (count ** differing <= 4096) assert.notEqual(mended, null);
    }),
    { numRuns: 200, seed: 4 },
  );
});

it("mending: a page that is right nowhere cannot be mended", () => {
  const copies = [block.slice(), block.slice(), block.slice()];
  for (const [i, copy] of copies.entries()) copy[pageBytes + i] ^= 1;
  assert.equal(mendBlock(copies, checksum), null);
  assert.equal(mendBlock([copies[0]], checksum), null);
});
