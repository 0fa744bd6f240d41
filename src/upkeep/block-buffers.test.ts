// Memory of blocks that are sent: used again when it was given back, and never while it was not.

import assert from "node:assert/strict";
import { it } from "node:test";
import { BlockBuffers } from "./block-buffers.ts";

const kib = 1024;

it("what was given back is taken again, also for a block of another size that fits", () => {
  const buffers = new BlockBuffers({ sparesMax: 2 });
  const first = buffers.take(3000 * kib);
  assert.equal(first.length, 3000 * kib);
  buffers.give(first);
  const second = buffers.take(4096 * kib);
  assert.equal(second.length, 4096 * kib);
  assert.equal(second.buffer, first.buffer);
  assert.notEqual(buffers.take(3000 * kib).buffer, first.buffer, "it is lent");
});

it("no more than so many are kept, the largest of them, and none after a drop", () => {
  const buffers = new BlockBuffers({ sparesMax: 2 });
  const taken = [64, 4096, 1024].map((size) => buffers.take(size * kib));
  for (const memory of taken) buffers.give(memory);
  assert.equal(buffers.take(64 * kib).buffer, taken[1].buffer);
  assert.equal(buffers.take(64 * kib).buffer, taken[2].buffer);
  const fresh = buffers.take(64 * kib);
  assert.notEqual(fresh.buffer, taken[0].buffer);
  buffers.give(fresh);
  buffers.drop();
  assert.notEqual(buffers.take(64 * kib).buffer, fresh.buffer);
});
