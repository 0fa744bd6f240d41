// The division of a server's memory: the shares add up to no more than there is, and what is too little is refused with what is enough.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { blockBytesMax, blockBytesMin, isTorusError } from "#model";
import { divideMemory, memoryBytesMin } from "./memory-plan.ts";

const mebibyte = 2 ** 20;
const blocks = fc
  .integer({ min: Math.log2(blockBytesMin), max: Math.log2(blockBytesMax) })
  .map((bits) => 2 ** bits);

test("the shares add up to what there is, less what the program needs, and each volume has room for what it keeps", () => {
  fc.assert(
    fc.property(blocks, fc.integer({ min: 0, max: 2 ** 40 }), (blockBytes, more) => {
      const memoryBytes = memoryBytesMin(blockBytes) + more;
      const { requestBytes, readCacheBytes, volumes } = divideMemory(memoryBytes, blockBytes);
      assert.ok(requestBytes >= 32 * mebibyte && volumes.countMax >= 1);
      assert.ok(volumes.mapBytes >= 8 * mebibyte);
      assert.ok(volumes.windowBytes / volumes.countMax >= 6 * blockBytes);
      const shared =
        2 * requestBytes + readCacheBytes + volumes.countMax * volumes.mapBytes + volumes.windowBytes;
      assert.ok(memoryBytes - shared >= 192 * mebibyte);
    }),
  );
});

test("too little is refused, naming the least", () => {
  assert.throws(
    () => divideMemory(memoryBytesMin(4 * mebibyte) - 1, 4 * mebibyte),
    (error) =>
      isTorusError(error, "invalid-argument") &&
      error.message === "--memory 288.0 MiB is too little for blocks of 4.0 MiB: give it 288.0 MiB or more",
  );
});
