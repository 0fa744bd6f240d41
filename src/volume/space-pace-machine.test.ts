// SpacePaceMachine: a writer faster than cleaning is slowed down to what comes back and never meets the end; where nothing comes back it is
// not slowed down but told.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SpacePaceMachine, spacePaceDefaults } from "./space-pace-machine.ts";

const blockBytes = 2 ** 20;
const copyBytes = 2 ** 30;
const mebibyte = 2 ** 20;
const options = { ...spacePaceDefaults, blockBytes };

/** A pool whose peers are asked whenever the machine wants it, and a writer that takes all it may, in steps of 20 ms. */
class Scene {
  readonly machine = new SpacePaceMachine(options, 0);
  nowMs = 0;
  freeBytes: number;
  written = 0;
  least = Number.POSITIVE_INFINITY;

  constructor(freeBytes: number) {
    this.freeBytes = freeBytes;
    this.machine.learned(0, { freeBytes, copyBytes }, 0);
  }

  /** `wants`: bytes a second; `returns`: the same, in a gust each `gustMs`. Returns how much was written. */
  pass(seconds: number, wants: number, returns: number, debtBytes: number, gustMs = 2000): number {
    const stepMs = 20;
    const before = this.written;
    const endMs = this.nowMs + seconds * 1000;
    for (; this.nowMs < endMs; this.nowMs += stepMs) {
      if (this.nowMs % gustMs === 0) this.freeBytes += (returns * gustMs) / 1000;
      if (this.machine.wantsToKnow(this.nowMs))
        this.machine.learned(this.nowMs, { freeBytes: this.freeBytes, copyBytes }, this.written);
      this.machine.debtIs(debtBytes);
      const bytes = Math.min(this.machine.allowance(this.nowMs), (wants * stepMs) / 1000);
      this.machine.took(bytes);
      this.written += bytes;
      this.machine.logIs(this.written);
      this.freeBytes -= bytes;
      this.least = Math.min(this.least, this.freeBytes);
    }
    return this.written - before;
  }
}

test("a writer is not slowed down while there is enough, nor when nothing can come back", () => {
  assert.equal(Math.round(new Scene(copyBytes / 2).pass(5, 10 * mebibyte, 0, copyBytes)), 50 * mebibyte);
  assert.equal(Math.round(new Scene(8 * mebibyte).pass(0.5, 10 * mebibyte, 0, 0)), 5 * mebibyte);
});

test("a writer faster than what comes back never meets the end, and gets nearly all that comes back", () => {
  const scene = new Scene(40 * mebibyte);
  scene.pass(60, 100 * mebibyte, 8 * mebibyte, copyBytes);
  const written = scene.pass(120, 100 * mebibyte, 8 * mebibyte, copyBytes);
  assert.ok(scene.least > 2 * blockBytes, `${scene.least} bytes were left`);
  assert.ok(written > 0.9 * 120 * 8 * mebibyte, `${written}`);
});

test("it becomes slower step by step, not all at once", () => {
  const scene = new Scene(60 * mebibyte);
  let before = Number.POSITIVE_INFINITY;
  for (let second = 0; second < 40; second++) {
    const written = scene.pass(1, 10 * mebibyte, 0, copyBytes);
    assert.ok(written >= before / 3 || before === Number.POSITIVE_INFINITY, `second ${second}`);
    before = written;
  }
  assert.ok(before < mebibyte, `${before}`);
});

test("where nothing returns after all the end is met, and said", () => {
  const scene = new Scene(4 * mebibyte);
  scene.pass(300, 50 * mebibyte, 0, copyBytes);
  assert.ok(scene.least < blockBytes, `${scene.least}`);
});

test("peers are asked before much of what was free can have been used, and seldom when there is plenty", () => {
  const scene = new Scene(copyBytes / 2);
  scene.machine.logIs(copyBytes / 32);
  assert.ok(!scene.machine.wantsToKnow(5000));
  scene.machine.logIs(copyBytes / 8);
  assert.ok(scene.machine.wantsToKnow(5000));
  assert.ok(!scene.machine.wantsToKnow(20), "but not all the time");
});
