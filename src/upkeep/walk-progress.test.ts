// What a walk tells of itself while it goes on: also within one page, which of a small peer is all there is.

import assert from "node:assert/strict";
import { it } from "node:test";
import { SimClock } from "../sim/clock.ts";
import { WalkProgress } from "./walk-progress.ts";

const nothing = { misplacedBlocks: 0, misplacedBytes: 0 };

it("a walk says how far it is within a page, and how long the rest may take at its speed so far", async () => {
  const clock = new SimClock();
  const progress = new WalkProgress(clock);
  const told = (): [number, number | null] => {
    const { walkedPercent, remainingMs } = progress.report(0);
    return [walkedPercent, remainingMs];
  };
  progress.begin(2, 400);
  assert.deepEqual(told(), [0, null]);
  let done = 0;
  progress.enter(100, () => done);
  await clock.advance(10_000);
  assert.deepEqual(told(), [0, null], "nothing is done yet");
  done = 0.5;
  assert.deepEqual(told(), [12, 70_000]);
  progress.add({ walked: 100, kept: 0, unknown: 0 }, nothing);
  assert.deepEqual(told(), [25, 30_000]);
  progress.enter(300, () => 1);
  assert.deepEqual(told(), [100, 0]);
  progress.add({ walked: 300, kept: 0, unknown: 0 }, nothing);
  progress.end(7);
  assert.deepEqual(told(), [100, null]);
  assert.equal(progress.report(0).state, "idle");
});
