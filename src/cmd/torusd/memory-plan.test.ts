// The division of a daemon's memory: the shares add up to no more than there is, and what is too little is refused with what is enough.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { blockBytesMax, blockBytesMin, isTorusError } from "#model";
import { divideMemory, memoryBytesDefault, memoryBytesMin } from "./memory-plan.ts";

const mebibyte = 2 ** 20;
const needs = fc.record({
  stores: fc.integer({ min: 1, max: 64 }),
  blockBytes: fc
    .integer({ min: Math.log2(blockBytesMin), max: Math.log2(blockBytesMax) })
    .map((bits) => 2 ** bits),
});

test("the shares add up to what there is, less what the program needs, and never to more", () => {
  fc.assert(
    fc.property(needs, fc.integer({ min: 0, max: 2 ** 40 }), (each, more) => {
      const memoryBytes = memoryBytesMin(each) + more;
      const { bufferBytes, requestBytes } = divideMemory(memoryBytes, each);
      assert.ok(bufferBytes >= 4 * each.blockBytes && requestBytes >= 2 * each.blockBytes);
      const rest = memoryBytes - each.stores * (bufferBytes + requestBytes);
      assert.ok(rest >= 144 * mebibyte, `${rest} bytes are left for the program`);
    }),
  );
});

test("what is given unless told is enough, also for the largest blocks", () => {
  fc.assert(
    fc.property(needs, (each) => {
      divideMemory(memoryBytesDefault(each), each);
    }),
  );
  assert.equal(memoryBytesDefault({ stores: 2, blockBytes: 4 * mebibyte }), 1024 * mebibyte);
});

test("too little is refused, naming the least", () => {
  const each = { stores: 1, blockBytes: 4 * mebibyte };
  assert.throws(
    () => divideMemory(memoryBytesMin(each) - 1, each),
    (error) =>
      isTorusError(error, "invalid-argument") &&
      error.message ===
        "--memory 192.0 MiB is too little for one disk and blocks of 4.0 MiB: give it 192.0 MiB or more",
  );
  assert.throws(() => divideMemory(mebibyte, { ...each, stores: 3 }), /1\.0 MiB is too little for 3 disks/);
});
