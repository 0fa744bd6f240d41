// Records are taken only when every page is what its own sum says, though all of them are summed in one call.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, pageBytes, verifyRecords } from "#model";
import { SeededRandom } from "../sim/random.ts";
import { sampleBlock } from "./record.fixture.ts";

const ref = { type: 0, volume: 1, epoch: 1, index: 1 };
const pages = 5;
const { bytes, offsets } = sampleBlock(ref, 3, pages);

/** Where page `number` of the second record starts, its header page being 0. */
const at = (number: number): number => offsets[1] + number * pageBytes;

function verifiedWith(change: (bytes: Uint8Array) => void): number {
  const changed = Uint8Array.from(bytes);
  change(changed);
  return verifyRecords(changed, ref, 0, 0, null).length;
}

test("whole records are taken, and the block is summed", () => {
  const verified = verifyRecords(bytes, ref, 0, 0, null);
  assert.equal(verified.length, bytes.length);
  assert.equal(verified.blockChecksum, crc32(bytes));
  const rest = verifyRecords(
    bytes.subarray(offsets[1]),
    ref,
    offsets[1],
    crc32(bytes.subarray(0, offsets[1])),
    null,
  );
  assert.equal(rest.blockChecksum, crc32(bytes));
});

test("any bit that is wrong ends what is taken before its record", () => {
  const random = new SeededRandom(1);
  for (let i = 0; i < 400; i++) {
    const place = random.uint32() % bytes.length;
    const record = offsets.findLastIndex((offset) => offset <= place);
    const found = verifiedWith((changed) => (changed[place] ^= 1 << (random.uint32() % 8)));
    assert.equal(found, offsets[record], `byte ${place}`);
  }
});

test("pages that took each other's place, or were changed in the same way, are found", () => {
  for (let one = 1; one <= pages; one++) {
    for (let other = one + 1; other <= pages; other++) {
      const swapped = verifiedWith((changed) => {
        changed.copyWithin(at(one), at(other), at(other) + pageBytes);
        changed.set(bytes.subarray(at(one), at(one) + pageBytes), at(other));
      });
      assert.equal(swapped, offsets[1], `pages ${one} and ${other}`);
      const alike = verifiedWith((changed) => {
        for (const page of [one, other]) changed[at(page) + 17] ^= 0x40;
      });
      assert.equal(alike, offsets[1], `pages ${one} and ${other}`);
    }
  }
});
