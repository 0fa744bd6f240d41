// The formats of a store's files: golden bytes (docs/formats/store.md), and that what does not verify is told apart.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { pageBytes } from "#model";
import {
  decodeFenceEntry,
  decodeFences,
  encodeFenceEntry,
  encodeFences,
  fenceEntryBytes,
} from "./fence-codec.ts";
import { layoutOf, segmentOffset, slotEntryBytes, slotOffset, slotsOf, tableOffset } from "./layout.ts";
import type { SlotEntry } from "./slot-entry-codec.ts";
import {
  checksumSeed,
  decodeSegmentHeader,
  decodeSlotEntry,
  encodeSegmentHeader,
  encodeSlotEntry,
} from "./slot-entry-codec.ts";

const peer = "00112233-4455-4677-8899-aabbccddeeff";
const seed = checksumSeed(peer);
const entry: SlotEntry = {
  state: "sealed",
  slotClass: 1,
  reused: true,
  distrusted: false,
  ref: { type: 1, volume: 0x0102030405, epoch: 7, index: 2 ** 40 + 3 },
  length: 4_000_000,
  checksum: 0xdeadbeef,
  sequence: 2 ** 33 + 1,
  durableIndex: 9,
  durableOffset: 8192,
};
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("slot entries", () => {
  test("golden bytes", () => {
    const bytes = new Uint8Array(2 * slotEntryBytes);
    encodeSlotEntry(entry, seed, 5, bytes, slotEntryBytes);
    assert.equal(hex(bytes.subarray(slotEntryBytes)), goldenEntry);
    assert.deepEqual(decodeSlotEntry(bytes, slotEntryBytes, seed, 5), entry);
    assert.equal(decodeSlotEntry(bytes, 0, seed, 4), "unused");
  });

  test("another place, another peer or any flipped bit is damage", () => {
    const bytes = new Uint8Array(slotEntryBytes);
    encodeSlotEntry(entry, seed, 5, bytes, 0);
    assert.equal(decodeSlotEntry(bytes, 0, seed, 6), "damaged");
    assert.equal(decodeSlotEntry(bytes, 0, checksumSeed(peer.replace("0", "1")), 5), "damaged");
    for (let bit = 0; bit < slotEntryBytes * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] ^= 1 << (bit & 7);
      assert.equal(decodeSlotEntry(flipped, 0, seed, 5), "damaged", `bit ${bit}`);
    }
  });
});

describe("segment headers", () => {
  const header = { slotClass: 1, slotBytes: 4 * 2 ** 20, segmentBytes: 32 * 2 ** 20 };

  test("golden bytes, twice in the page", () => {
    const page = new Uint8Array(pageBytes);
    encodeSegmentHeader(header, peer, 3, page);
    assert.equal(hex(page.subarray(0, 64)), goldenHeader);
    assert.equal(hex(page.subarray(pageBytes - 512, pageBytes - 448)), goldenHeader);
    assert.deepEqual(decodeSegmentHeader(page, peer, 3), header);
  });

  test("either copy is enough; none is damage, zeroes are not", () => {
    const page = new Uint8Array(pageBytes);
    assert.equal(decodeSegmentHeader(page, peer, 3), "unused");
    encodeSegmentHeader(header, peer, 3, page);
    page[8] ^= 1;
    assert.deepEqual(decodeSegmentHeader(page, peer, 3), header);
    page[pageBytes - 500] ^= 1;
    assert.equal(decodeSegmentHeader(page, peer, 3), "damaged");
  });
});

describe("fences", () => {
  test("golden bytes; any flipped bit is damage", () => {
    const bytes = new Uint8Array(fenceEntryBytes);
    assert.equal(decodeFenceEntry(bytes, 0), "unused");
    const unserved = { volume: 0x0102030405, epoch: 2 ** 40 + 1, servedEpoch: 0 };
    encodeFenceEntry(unserved, bytes, 0);
    assert.equal(hex(bytes), goldenFence);
    assert.deepEqual(decodeFenceEntry(bytes, 0), unserved);
    const fence = { ...unserved, servedEpoch: 2 ** 40 };
    encodeFenceEntry(fence, bytes, 0);
    assert.equal(hex(bytes), goldenServed);
    assert.deepEqual(decodeFenceEntry(bytes, 0), fence);
    for (let bit = 0; bit < fenceEntryBytes * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] ^= 1 << (bit & 7);
      assert.equal(decodeFenceEntry(flipped, 0), "damaged", `bit ${bit}`);
    }
  });

  test("the text goes round, and no cut of it passes", () => {
    const epochs = new Map([
      [1, 2],
      [2 ** 40 - 1, 2 ** 53 - 1],
    ]);
    const served = new Map([
      [1, 1],
      [7, 3],
    ]);
    const text = encodeFences({ epochs, served });
    assert.equal(text.split("\n")[1], "[[1,2,1],[1099511627775,9007199254740991],[7,0,3]]");
    assert.deepEqual(decodeFences(text), { epochs, served });
    for (let length = 0; length < text.length - 1; length++)
      assert.throws(() => decodeFences(text.slice(0, length)));
    assert.throws(() => decodeFences(text.replace('"format":2', '"format":3')), /format 3/);
  });

  test("the text of format 1 is still read", () => {
    const epochs = new Map([[1, 2]]);
    assert.deepEqual(decodeFences(goldenText1), { epochs, served: new Map() });
  });
});

test("nothing in the layout overlaps, and all of it is aligned", () => {
  const sizes = fc.record({ block: fc.integer({ min: 0, max: 10 }), times: fc.integer({ min: 0, max: 5 }) });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 0, max: 1000 }), ({ block, times }, segment) => {
      const blockBytes = 2 ** (16 + block);
      const layout = layoutOf(blockBytes, blockBytes * 2 ** times);
      for (const slotClass of layout.classes.keys()) {
        const slots = slotsOf(layout, slotClass);
        const table = tableOffset(layout, segment);
        assert.ok(table >= segmentOffset(layout, segment) + pageBytes);
        const first = slotOffset(layout, segment, 0, slotClass);
        assert.ok(first >= table + slots * slotEntryBytes);
        assert.equal(first % pageBytes, 0);
        const end = slotOffset(layout, segment, slots, slotClass);
        assert.ok(end <= segmentOffset(layout, segment + 1));
      }
    }),
  );
});

const goldenEntry =
  "54534c540301010001000005040302010700000000000000030000000001000000093d00efbeadde010000000200000009000000000000000020000040923941";
const goldenHeader =
  "545345470100010000004000000000020300000000112233445546778899aabbccddeeff0000000000000000000000000000000000000000000000003004b95a";
const goldenFence = "5446454ee149839c050403020100000001000000000100000000000000000000";
const goldenText1 = `{"format":1,"checksum":2440176665}\n[[1,2]]\n`;
const goldenServed = "5446454ed623419d050403020100000001000000000100000000000000010000";
