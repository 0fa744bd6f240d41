// Streams, and what is not one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ReadAheadMachine } from "./read-ahead-machine.ts";

test("a stream is read ahead of, farther and farther, every page once and in order", () => {
  const machine = new ReadAheadMachine({ windowPagesMax: 256 });
  let ahead = 0;
  let farthest = 0;
  for (let page = 0; page < 5000; page++) {
    const run = machine.note(page, 1);
    if (run === null) {
      assert.ok(page < 2 || ahead > page + 1, `page ${page + 1} was read ahead before it is wanted`);
      continue;
    }
    assert.equal(run.first, Math.max(ahead, page + 1));
    ahead = run.first + run.count;
    farthest = Math.max(farthest, ahead - page);
  }
  assert.ok(farthest > 200 && farthest <= 257, `up to ${farthest} pages`);
});

test("reads all over the place are no streams, and do not end the streams between them", () => {
  const machine = new ReadAheadMachine({ windowPagesMax: 256 });
  let found = 0;
  for (let i = 0; i < 1000; i++) {
    assert.equal(machine.note(1_000_000 + ((i * 7919) % 99_991) * 2, 1), null);
    // Two streams beside each other, of several pages at a time.
    if (machine.note(i * 4, 4) !== null) found += 1;
    if (machine.note(500_000 + i * 2, 2) !== null) found += 1;
  }
  assert.ok(found > 40, `${found} runs`);
});

test("two reads in a row are an accident, and a jump begins anew", () => {
  const machine = new ReadAheadMachine({ windowPagesMax: 64 });
  assert.equal(machine.note(0, 8), null);
  assert.equal(machine.note(8, 8), null);
  assert.deepEqual(machine.note(16, 8), { first: 24, count: 32 });
  assert.equal(machine.note(5000, 8), null);
  assert.equal(machine.note(5008, 8), null);
  assert.deepEqual(machine.note(5016, 8), { first: 5024, count: 32 });
});

test("reads larger than what may be read ahead go on without it", () => {
  const machine = new ReadAheadMachine({ windowPagesMax: 64 });
  for (let i = 0; i < 20; i++) {
    const run = machine.note(i * 256, 256);
    if (run !== null) assert.ok(run.first >= (i + 1) * 256 && run.count <= 64);
  }
});
