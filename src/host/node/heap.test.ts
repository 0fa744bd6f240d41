// Releasing the heap gives room back, and leaves nothing behind in the program.

import assert from "node:assert/strict";
import { test } from "node:test";
import { getHeapStatistics } from "node:v8";
import { releaseHeap } from "./heap.ts";

const objectsCount = 200_000;

test("what nobody needs any more goes back to the system, and programs get no way to collect", () => {
  let garbage: object[] | null = Array.from({ length: objectsCount }, (_, i) => ({ i }));
  assert.equal(garbage.length, objectsCount);
  const before = getHeapStatistics().total_physical_size;
  garbage = null;
  releaseHeap();
  assert.ok(getHeapStatistics().total_physical_size < before - 4 * objectsCount);
  assert.equal("gc" in globalThis, false);
  releaseHeap();
});
