// Memory that is used again: how much of it is kept, and for how long.

import assert from "node:assert/strict";
import { it } from "node:test";
import { ReusedMemory } from "./reused-memory.ts";

const mib = 2 ** 20;

/** Takes so much at once and gives it back. */
function use(memory: ReusedMemory, pieces: number): ReadonlySet<ArrayBufferLike> {
  const taken = Array.from({ length: pieces }, () => memory.take(4 * mib));
  for (const piece of taken) memory.give(piece);
  return new Set(taken.map(({ buffer }) => buffer));
}

const shared = (a: ReadonlySet<ArrayBufferLike>, b: ReadonlySet<ArrayBufferLike>): number =>
  [...a].filter((each) => b.has(each)).length;

it("no more is kept than was asked for", () => {
  const small = new ReusedMemory();
  assert.equal(shared(use(small, 6), use(small, 6)), 2);
  const large = new ReusedMemory({ spareBytesMax: 16 * mib });
  assert.equal(shared(use(large, 6), use(large, 6)), 4);
});

it("what is needed between two trims stays, what is not goes, but for a little", () => {
  const memory = new ReusedMemory({ spareBytesMax: 32 * mib });
  const first = use(memory, 8);
  memory.trim();
  const second = use(memory, 5);
  assert.equal(shared(first, second), 5);
  memory.trim();
  assert.equal(shared(first, use(memory, 8)), 5, "three were idle");
  memory.trim();
  memory.trim();
  memory.trim();
  assert.equal(shared(second, use(memory, 8)), 2);
});
