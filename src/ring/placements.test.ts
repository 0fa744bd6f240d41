// Placement is frozen: a release that computes another order would look for data where it is not. The table in
// testdata/placements.json was written once and must never be regenerated for an existing kind of ring; a new kind
// adds its rows.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { BlockRef } from "#model";
import { crc32 } from "#model";
import { createRing } from "./create-ring.ts";
import { exponentialOf, hashPeer, hashRef, newHashWords } from "./hash.ts";
import { sampleRefs } from "./movement.ts";
import type { RingDescription } from "./ring.ts";

interface FrozenPlacement {
  readonly name: string;
  readonly ring: RingDescription;
  readonly placements: readonly { readonly ref: BlockRef; readonly peers: readonly string[] }[];
  /** CRC-32 of the permutations of 2,000 sample blocks, as JSON. */
  readonly sample: number;
}

const table = JSON.parse(
  readFileSync(new URL("testdata/placements.json", import.meta.url), "utf8"),
) as readonly FrozenPlacement[];

for (const { name, ring, placements, sample } of table) {
  test(`placements of ${name} are what they always were`, () => {
    const made = createRing(ring);
    for (const { ref, peers } of placements) assert.deepEqual(made.permutation(ref), peers);
    const orders = sampleRefs(2_000).map((ref) => made.permutation(ref));
    assert.equal(crc32(new TextEncoder().encode(JSON.stringify(orders))), sample);
  });
}

test("the hash is what it always was, and its logarithm is right", () => {
  const words = newHashWords();
  hashPeer("peer-1", 0, words);
  const peer = [...words];
  hashRef({ type: 1, volume: 2 ** 40 - 1, epoch: 2 ** 52 + 1, index: 3 }, words);
  assert.deepEqual([...peer, ...words], hashGolden.words);
  assert.equal(exponentialOf(peer[0], peer[1], words[0], words[1]), hashGolden.exponential);
});

const hashGolden = {
  words: [79085713, -1768729454, 1245023407, -384323940],
  exponential: 2.7566272136835073,
};

test("exponentials have mean 1, deviation 1 and no zero", () => {
  let sum = 0;
  let squares = 0;
  const count = 200_000;
  for (let i = 0; i < count; i++) {
    const value = exponentialOf(i, 7, 0, 0);
    assert.ok(value > 0 && value < 37);
    sum += value;
    squares += value * value;
  }
  assert.ok(Math.abs(sum / count - 1) < 0.01, `mean ${sum / count}`);
  assert.ok(Math.abs(squares / count - 2) < 0.05, `mean square ${squares / count}`);
});
