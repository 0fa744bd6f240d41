// The latency guard: it makes room when it is the cause of waiting, and only then, and work never stands for good.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LatencyGuardMachine, latencyGuardDefaults } from "./latency-guard-machine.ts";

const options = latencyGuardDefaults;

/** Some seconds of a peer: users' requests all along, which take `tookMs` each, and so much moved in each window. */
class Scene {
  readonly machine = new LatencyGuardMachine(options, 0);
  nowMs = 0;
  /** The share at the end of each window. */
  shares: number[] = [];

  pass(seconds: number, users: { readonly tookMs: number } | null, movedBytes = 0, waitedMs = 0): this {
    this.shares = [];
    const endMs = this.nowMs + seconds * 1000;
    while (this.nowMs < endMs) {
      const share = this.machine.share(this.nowMs);
      this.shares.push(share);
      if (movedBytes > 0 && share > 0) this.machine.moved(this.nowMs, movedBytes);
      for (let i = 0; i < 20; i++) {
        if (users !== null) this.machine.served(this.nowMs, "append", users.tookMs);
        this.machine.waited(this.nowMs, waitedMs);
        this.nowMs += options.windowMs / 20;
      }
    }
    return this;
  }

  get share(): number {
    return this.shares.at(-1) ?? 1;
  }
}

const normal = { tookMs: 4 };
const slow = { tookMs: 40 };

test("without users all of the budget is there", () => {
  assert.equal(new Scene().pass(5, null, 1e6).share, 1);
});

test("beside users it begins with little, and takes more as long as they do not notice", () => {
  const scene = new Scene().pass(3, normal);
  assert.ok(scene.machine.share(scene.nowMs) <= options.shareFirst);
  scene.pass(2, normal, 1e6);
  const soon = scene.share;
  scene.pass(30, normal, 1e6);
  assert.ok(soon > options.shareFirst && soon < 1, `${soon}`);
  assert.equal(Math.max(...scene.shares), 1);
});

test("when users wait much longer than without it, it makes room, and never stands still for good", () => {
  const scene = new Scene().pass(3, normal).pass(20, normal, 1e6).pass(5, slow, 1e6);
  assert.equal(scene.share, options.shareMin);
  scene.pass(60, slow, 1e6);
  const stood = scene.shares.filter((share) => share === 0).length;
  assert.ok(stood > 0 && stood <= 60_000 / options.quietEveryMs + 1, `${stood} windows`);
});

test("a thread that keeps things waiting counts as much as requests that take long", () => {
  const scene = new Scene().pass(3, normal).pass(20, normal, 1e6).pass(5, normal, 1e6, 30);
  assert.equal(scene.share, options.shareMin);
});

test("users who wait because of themselves do not hold it up: what is normal is learnt again in windows kept free", () => {
  const scene = new Scene().pass(3, normal).pass(20, normal, 1e6).pass(40, slow, 1e6);
  // They were slow in the free windows too.
  scene.pass(120, slow, 1e6);
  assert.equal(Math.max(...scene.shares), 1);
  assert.ok((scene.machine.normalMs("append") ?? 0) > slow.tookMs / 2);
});

test("a few requests are nobody who waits", () => {
  const scene = new Scene().pass(3, normal);
  for (let i = 0; i < 40; i++) {
    scene.machine.moved(scene.nowMs, 1e6);
    scene.machine.served(scene.nowMs, "append", 500);
    scene.nowMs += options.windowMs;
  }
  assert.equal(scene.machine.share(scene.nowMs), 1);
});

test("a kind of request that is rare counts as much as those beside it", () => {
  const scene = new Scene();
  const pass = (seconds: number, syncMs: number): void => {
    for (let window = 0; window < seconds * 2; window++) {
      for (const tookMs of [syncMs, syncMs]) scene.machine.served(scene.nowMs, "sync", tookMs);
      scene.pass(options.windowMs / 1000, normal, 1e6);
    }
  };
  scene.pass(3, normal);
  scene.machine.served(scene.nowMs, "sync", 10);
  scene.pass(1, normal);
  pass(10, 12);
  assert.ok(scene.share > options.shareFirst, `${scene.share}`);
  pass(5, 100);
  assert.ok(scene.share <= options.shareMin * 2, `${scene.share}`);
});
