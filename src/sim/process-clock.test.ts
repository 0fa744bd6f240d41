// Time as one process sees it when it is stopped, suspended, or runs fast.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SimClock } from "./clock.ts";
import { ProcessClock } from "./process-clock.ts";

function open(rate = 1) {
  const outside = new SimClock();
  const clock = new ProcessClock({ rate, wallJumpMs: 0 }, outside);
  const ran: number[] = [];
  const setTimer = (delayMs: number) => clock.setTimer(delayMs, () => ran.push(clock.monotonicMs()));
  return { outside, clock, ran, setTimer };
}

test("a stopped process finds everything that came due at once, and its clocks have moved", async () => {
  const { outside, clock, ran, setTimer } = open();
  for (const delayMs of [300, 100, 5000]) setTimer(delayMs);
  clock.stop();
  await outside.advance(1000);
  assert.deepEqual(ran, []);
  clock.proceed();
  await outside.advance(10);
  assert.deepEqual(ran, [1000, 1000]);
  await outside.advance(10_000);
  assert.deepEqual(ran, [1000, 1000, 5000]);
});

test("the monotonic clock of a suspended machine stands still, its wall clock does not", async () => {
  const { outside, clock, ran, setTimer } = open();
  const wallMs = clock.wallMs();
  setTimer(500);
  setTimer(3000);
  await outside.advance(200);
  clock.stop({ suspend: true });
  await outside.advance(10_000);
  assert.equal(clock.monotonicMs(), 200);
  assert.equal(clock.wallMs() - wallMs, 10_200);
  clock.proceed();
  await outside.advance(10_000);
  assert.deepEqual(ran, [500, 3000], "timers count monotonic time");
});

test("a clock that runs fast has its timers early, and nothing runs after the end", async () => {
  const { outside, clock, ran, setTimer } = open(2);
  setTimer(1000);
  await outside.advance(600);
  assert.deepEqual(ran, [1000]);
  setTimer(100);
  clock.kill();
  await outside.advance(600);
  assert.equal(ran.length, 1);
});
