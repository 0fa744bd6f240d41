// The pacer: so many bytes a second, no flood after a pause, and what the guard says counts from the moment on at which it says so.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../metadata/manual-clock.fixture.ts";
import { Pacer } from "./pacer.ts";

const mebibyte = 2 ** 20;

function open() {
  const clock = new ManualClock();
  const guard = { share: 1, moved: 0 };
  const pacer = new Pacer(
    { bytesPerSecond: 10 * mebibyte },
    { clock, guard: { share: () => guard.share, moved: (bytes) => (guard.moved += bytes) } },
  );
  const done = (promise: Promise<void>): { is: boolean } => {
    const state = { is: false };
    void promise.then(() => (state.is = true));
    return state;
  };
  return { clock, guard, pacer, done };
}

test("who comes later waits longer, at the rate of the budget", async () => {
  const { clock, guard, pacer, done } = open();
  const first = done(pacer.take(10 * mebibyte));
  const second = done(pacer.take(5 * mebibyte));
  await clock.advance(950);
  assert.deepEqual([first.is, second.is], [false, false]);
  await clock.advance(100);
  assert.deepEqual([first.is, second.is], [true, false]);
  assert.equal(guard.moved, 10 * mebibyte);
  await clock.advance(550);
  assert.equal(second.is, true);
});

test("what was not used is kept for a quarter of a second, no longer", async () => {
  const { clock, pacer, done } = open();
  await clock.advance(60_000);
  const kept = done(pacer.take(2 * mebibyte));
  const more = done(pacer.take(10 * mebibyte));
  await clock.advance(1);
  assert.deepEqual([kept.is, more.is], [true, false]);
  await clock.advance(800);
  assert.equal(more.is, false);
  await clock.advance(300);
  assert.equal(more.is, true);
});

test("a share that falls is felt by who waits already, and nothing moves while it is 0", async () => {
  const { clock, guard, pacer, done } = open();
  guard.share = 0;
  const waiting = done(pacer.take(mebibyte));
  await clock.advance(10_000);
  assert.equal(waiting.is, false);
  guard.share = 0.1;
  await clock.advance(700);
  assert.equal(waiting.is, false);
  guard.share = 1;
  await clock.advance(300);
  assert.equal(waiting.is, true);
});

test("who may not wait for ever goes ahead after its time, and what it did not wait for is forgiven", async () => {
  const { clock, pacer, done } = open();
  const bounded = done(pacer.take(100 * mebibyte, 500));
  await clock.advance(400);
  assert.equal(bounded.is, false);
  await clock.advance(200);
  assert.equal(bounded.is, true);
  const next = done(pacer.take(10 * mebibyte));
  await clock.advance(500);
  assert.equal(next.is, false);
  await clock.advance(600);
  assert.equal(next.is, true);
});
