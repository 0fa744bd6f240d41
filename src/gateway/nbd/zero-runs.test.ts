// Where data is zero for long enough.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { eachRun } from "./zero-runs.ts";

function runs(data: Uint8Array, whole = false): string[] {
  const found: string[] = [];
  eachRun(data, whole, (start, end, isHole) => found.push(`${isHole ? "hole" : "data"} ${start} ${end}`));
  return found;
}

test("zeroes of 16 KiB and more are holes, fewer are data, unless there is nothing else", () => {
  const data = Buffer.alloc(100_000, 1);
  assert.deepEqual(runs(data), ["data 0 100000"]);
  data.fill(0, 8192, 8192 + 16 * 1024);
  assert.deepEqual(runs(data), ["data 0 8192", "hole 8192 24576", "data 24576 100000"]);
  data.fill(0, 40_960, 40_960 + 12 * 1024);
  assert.equal(runs(data).length, 3);
  data.fill(0, 98_304 - 16 * 1024, 100_000);
  assert.deepEqual(runs(data).at(-1), "hole 81920 100000");
  assert.deepEqual(runs(data, true), ["data 0 100000"]);
  for (const length of [1, 100, 4096, 4097, 20_000]) {
    for (const whole of [true, false])
      assert.deepEqual(runs(Buffer.alloc(length), whole), [`hole 0 ${length}`]);
  }
});

test("runs follow each other, name everything once, and holes are zero", () => {
  const pieces = fc.array(fc.record({ zero: fc.boolean(), length: fc.integer({ min: 1, max: 30_000 }) }), {
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(
    fc.property(pieces, fc.boolean(), (parts, whole) => {
      const data = Buffer.concat(parts.map(({ zero, length }) => Buffer.alloc(length, zero ? 0 : 7)));
      let at = 0;
      eachRun(data, whole, (start, end, isHole) => {
        assert.ok(start === at && end > start);
        if (isHole) assert.ok(data.subarray(start, end).every((byte) => byte === 0));
        if (whole) assert.equal(end, data.length);
        at = end;
      });
      assert.equal(at, data.length);
    }),
    { numRuns: 200 },
  );
});
