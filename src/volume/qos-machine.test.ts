// The limits of a volume: rates that hold over any stretch of time, whatever the sizes; bursts; and those who wait, in order.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Timer } from "#host";
import { Metrics } from "#host";
import { unlimited } from "#metadata";
import { QosMachine } from "./qos-machine.ts";
import { Throttle } from "./throttle.ts";

test("requests go at the rate they are limited to, after a burst", () => {
  const machine = new QosMachine({ iops: 100, bytesPerSecond: null, burstMs: 50 }, 0);
  const went: number[] = [];
  for (let nowMs = 0; nowMs <= 1000; nowMs += 1) if (machine.take(4096, nowMs) === 0) went.push(nowMs);
  // Five at once had been saved up; here one is asked for each millisecond.
  assert.equal(went.filter((ms) => ms < 10).length, 5);
  assert.equal(went.length, 105);
});

test("a request larger than a burst goes when that is full, and those behind it pay", () => {
  const machine = new QosMachine({ iops: null, bytesPerSecond: 1_000_000, burstMs: 10 }, 0);
  assert.equal(machine.take(100_000, 0), 0);
  assert.ok(Math.abs(machine.take(1000, 0) - 91) < 1e-6);
  assert.ok(machine.take(1000, 90.9) > 0);
  assert.equal(machine.take(1000, 91), 0);
  assert.equal(new QosMachine(unlimited, 0).take(2 ** 30, 0), 0);
});

test("over any stretch of time no more goes than the rate, a burst and one request", () => {
  const limits = fc.record({
    iops: fc.option(fc.integer({ min: 1, max: 10_000 })),
    bytesPerSecond: fc.option(fc.integer({ min: 4096, max: 10_000_000 })),
    burstMs: fc.integer({ min: 1, max: 5000 }),
  });
  const requests = fc.array(fc.tuple(fc.nat(2_000_000), fc.nat(50)), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(limits, requests, (qos, asked) => {
      const machine = new QosMachine(qos, 0);
      const went: { readonly ms: number; readonly bytes: number }[] = [];
      let nowMs = 0;
      for (const [bytes, thinkMs] of asked) {
        nowMs += thinkMs;
        for (let waitMs = machine.take(bytes, nowMs); waitMs > 0; waitMs = machine.take(bytes, nowMs))
          nowMs += waitMs;
        went.push({ ms: nowMs, bytes });
      }
      for (let from = 0; from < went.length; from++) {
        let bytes = 0;
        for (let to = from; to < went.length; to++) {
          const seconds = (went[to].ms - went[from].ms + qos.burstMs) / 1000;
          if (qos.iops !== null) assert.ok(to - from <= seconds * qos.iops + 1 + 1e-3);
          // All but the last, which may be larger than a burst.
          if (qos.bytesPerSecond !== null) assert.ok(bytes <= seconds * qos.bytesPerSecond + 2_000_000 + 1);
          bytes += went[to].bytes;
        }
      }
    }),
    { numRuns: 300 },
  );
});

/** A clock whose one timer a test fires. */
class HandClock {
  nowMs = 0;
  #timers: { readonly atMs: number; readonly fire: () => void }[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, fire };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  async advance(ms: number): Promise<void> {
    this.nowMs += ms;
    const due = this.#timers.filter(({ atMs }) => atMs <= this.nowMs);
    this.#timers = this.#timers.filter(({ atMs }) => atMs > this.nowMs);
    for (const { fire } of due) fire();
    await Promise.resolve();
  }
}

test("who waits goes in the order he came; other limits hold at once; in the end all go", async () => {
  const clock = new HandClock();
  const metrics = new Metrics();
  const throttle = new Throttle({ iops: 10, bytesPerSecond: null, burstMs: 100 }, { clock, metrics });
  const went: number[] = [];
  const enter = (number: number, bytes: number): void => {
    const pending = throttle.enter(bytes);
    if (pending === null) went.push(number);
    else void pending.then(() => went.push(number));
  };
  for (let i = 0; i < 6; i++) enter(i, i === 1 ? 2 ** 30 : 0);
  assert.deepEqual(went, [0]);
  await clock.advance(100);
  await clock.advance(99);
  assert.deepEqual(went, [0, 1]);
  await clock.advance(1);
  assert.deepEqual(went, [0, 1, 2]);
  throttle.set({ iops: 1000, bytesPerSecond: null, burstMs: 2 });
  await Promise.resolve();
  assert.deepEqual(went, [0, 1, 2, 3, 4]);
  throttle.set({ iops: 1, bytesPerSecond: null, burstMs: 1000 });
  await Promise.resolve();
  enter(6, 0);
  assert.deepEqual(went, [0, 1, 2, 3, 4, 5]);
  throttle.end();
  enter(7, 0);
  await Promise.resolve();
  assert.deepEqual(went.sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
  const [count, seconds] = metrics.collect().map(({ value }) => value);
  assert.equal(count, 6);
  assert.ok(seconds >= 0.5 && seconds < 1.5, `${seconds} s`);
});

test("without limits nobody waits", () => {
  const throttle = new Throttle(unlimited, { clock: new HandClock(), metrics: new Metrics() });
  for (let i = 0; i < 100; i++) assert.equal(throttle.enter(2 ** 25), null);
});
