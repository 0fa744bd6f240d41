// Bytes of INode nodes: golden, round trips, and injured ones.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { blockType, isTorusError } from "#model";
import {
  decodeInterior,
  decodeLeaf,
  decodeRoot,
  decodeTableChunk,
  encodeInterior,
  encodeLeaf,
  encodeRoot,
  encodeTableChunk,
  fanOut,
  leafPages,
} from "./inode-codec.ts";

function emptyLeaf() {
  return {
    ids: new Uint32Array(leafPages),
    offsets: new Uint16Array(leafPages),
    checksums: new Uint32Array(leafPages),
  };
}

const pointer = (index: number) => ({
  ref: { type: blockType.inode, volume: 0xabcdef0123, epoch: 7, index },
  offset: 16 * index,
  length: 100 + index,
  checksum: 0xdeadbeef,
});

test("golden bytes: a leaf, an interior node, a table chunk and a root never change silently", () => {
  const leaf = emptyLeaf();
  for (const [slot, offset] of [
    [3, 10],
    [4, 11],
    [5, 12],
    [9, 1],
  ]) {
    leaf.ids[slot] = 42;
    leaf.offsets[slot] = offset;
    leaf.checksums[slot] = 0x01020304 * slot;
  }
  assert.equal(
    Buffer.from(encodeLeaf(leaf)).toString("hex"),
    "54494e4f010001040200000000000000030003002a0000000a000000090001002a000000010000000c090603100c0804140f0a05241b1209",
  );
  assert.equal(
    Buffer.from(encodeInterior(new Map([[511, pointer(1)]]))).toString("hex"),
    "54494e4f010002040100000000000000ff01000001000023" +
      "01efcdab07000000000000000100000000000000" +
      "1000000065000000efbeadde",
  );
  const entry = {
    ref: { type: blockType.data, volume: 1, epoch: 2, index: 3 },
    live: 5,
    length: 8192,
    checksum: 6,
    sealed: true,
  };
  assert.equal(
    Buffer.from(encodeTableChunk(new Map([[127, entry]]))).toString("hex"),
    "54494e4f0100030401000000000000007f000000050000000000000100000000020000000000000003000000000000000020000006000000" +
      "01000000",
  );
  assert.equal(
    encodeRoot({ sizeBytes: 2 ** 40, livePages: 9, map: pointer(1), table: null }).length,
    16 + 16 + 72,
  );
});

test("property: leaves survive encoding", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(fc.nat(leafPages - 1), fc.integer({ min: 1, max: 2 ** 31 }), fc.nat(16_383), fc.nat()),
        { maxLength: 600 },
      ),
      (places) => {
        const leaf = emptyLeaf();
        for (const [slot, id, offset, checksum] of places) {
          leaf.ids[slot] = id;
          leaf.offsets[slot] = offset;
          leaf.checksums[slot] = checksum;
        }
        const decoded = emptyLeaf();
        decodeLeaf(encodeLeaf(leaf), decoded);
        assert.deepEqual(decoded.ids, leaf.ids);
        for (let slot = 0; slot < leafPages; slot++) {
          if (leaf.ids[slot] === 0) continue;
          assert.equal(decoded.offsets[slot], leaf.offsets[slot]);
          assert.equal(decoded.checksums[slot], leaf.checksums[slot]);
        }
      },
    ),
    { numRuns: 100 },
  );
});

test("interior nodes, table chunks and roots survive encoding", () => {
  const children = new Map([0, 1, 77, fanOut - 1].map((slot) => [slot, pointer(slot)]));
  assert.deepEqual(decodeInterior(encodeInterior(children)), children);
  const entries = new Map([
    [
      0,
      {
        ref: { type: blockType.data, volume: 1, epoch: 2, index: 3 },
        live: 5,
        length: 8192,
        checksum: 6,
        sealed: true,
      },
    ],
    [
      127,
      {
        ref: { type: blockType.data, volume: 1, epoch: 9, index: 4 },
        live: 0,
        length: 0,
        checksum: 0,
        sealed: false,
      },
    ],
  ]);
  assert.deepEqual(decodeTableChunk(encodeTableChunk(entries), 128), entries);
  const root = { sizeBytes: 2 ** 40, livePages: 123, map: pointer(4), table: pointer(5) };
  assert.deepEqual(decodeRoot(encodeRoot(root)), root);
  assert.deepEqual(decodeRoot(encodeRoot({ ...root, map: null, table: null })), {
    ...root,
    map: null,
    table: null,
  });
});

test("fuzz: injured nodes are refused or decode to something bounded, and never crash", () => {
  const leaf = emptyLeaf();
  for (let slot = 0; slot < leafPages; slot += 3) leaf.ids[slot] = slot + 1;
  const samples = [
    encodeLeaf(leaf),
    encodeInterior(
      new Map([
        [5, pointer(5)],
        [6, pointer(6)],
      ]),
    ),
    encodeTableChunk(new Map([[1, { ref: pointer(1).ref, live: 1, length: 1, checksum: 1, sealed: false }]])),
    encodeRoot({ sizeBytes: 1, livePages: 1, map: pointer(1), table: pointer(2) }),
  ];
  const decoders = [
    (bytes: Uint8Array) => decodeLeaf(bytes, emptyLeaf()),
    decodeInterior,
    (bytes: Uint8Array) => decodeTableChunk(bytes, 128),
    decodeRoot,
  ];
  fc.assert(
    fc.property(
      fc.nat(3),
      fc.nat(3),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }),
      fc.nat(),
      (which, decoder, injuries, cut) => {
        const bytes = Uint8Array.from(samples[which]).subarray(
          0,
          injuries.length % 2 === 0 ? samples[which].length : cut % samples[which].length,
        );
        for (const [at, value] of injuries) if (bytes.length > 0) bytes[at % bytes.length] = value;
        try {
          decoders[decoder](bytes);
        } catch (error) {
          assert.ok(isTorusError(error, "corrupt", "unsupported", "protocol"), String(error));
        }
      },
    ),
    { numRuns: 3000 },
  );
});
