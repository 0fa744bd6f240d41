// CleanerMachine: which block, how hard, how fast.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cleanerDefaults } from "./cleaner.ts";
import type { CleanCandidate, PoolState } from "./cleaner-machine.ts";
import { CleanerMachine } from "./cleaner-machine.ts";

const pagesPerBlock = 100;
const blockBytes = pagesPerBlock * 4096;
const calm: PoolState = { use: 0.7, copyBytes: 1000 * blockBytes, isFull: false, returns: 0 };

function open(candidates: readonly CleanCandidate[] = [], pool: PoolState = calm): CleanerMachine {
  const machine = new CleanerMachine({ ...cleanerDefaults, pagesPerBlock, pageBytes: 4096 }, 0);
  machine.poolIs(pool);
  machine.survey(candidates);
  return machine;
}

const blocks = (count: number, livePages: number, age = 10): CleanCandidate[] =>
  Array.from({ length: count }, (_, i) => ({ id: i + 1, livePages, age }));

test("the emptiest block is first, and an older one before a younger one that is as full", () => {
  const machine = open([
    { id: 1, livePages: 50, age: 10 },
    { id: 2, livePages: 10, age: 10 },
    { id: 3, livePages: 50, age: 30 },
    { id: 4, livePages: 90, age: 10_000 },
  ]);
  assert.deepEqual(
    [machine.next()?.id, machine.next()?.id, machine.next()?.id, machine.next()],
    [3, 2, 1, null],
  );
});

test("below the low water nothing is due; above it pressure rises to one", () => {
  assert.ok(!open(blocks(100, 75)).isDue);
  assert.ok(open(blocks(100, 69)).isDue);
  assert.ok(Math.abs(open(blocks(100, 55)).pressure - 0.5) < 1e-9);
  assert.equal(open(blocks(100, 40)).pressure, 1);
});

test("where the pool has much room more garbage is left, and the less room there is the less", () => {
  const roomy = { ...calm, use: 0.4 };
  assert.ok(!open(blocks(100, 55), roomy).isDue);
  assert.ok(open(blocks(100, 49), roomy).isDue);
  assert.equal(open(blocks(100, 51), roomy).pressure, 0);
  assert.equal(open(blocks(100, 25), roomy).pressure, 1);
  assert.ok(!open(blocks(100, 61), { ...calm, use: 0.55 }).isDue);
  assert.ok(open(blocks(100, 59), { ...calm, use: 0.55 }).isDue);
  assert.ok(open(blocks(100, 69), { ...roomy, copyBytes: 0 }).isDue, "not known to be roomy");
  const returning = open(blocks(100, 55), calm);
  returning.died(0, 300);
  assert.ok(!returning.isDue, "what is on its way back is room");
});

test("few blocks are not worth it, however empty: an idle volume comes to rest", () => {
  assert.ok(!open(blocks(3, 1)).isDue);
  assert.ok(!open(blocks(1, 1)).isDue);
  assert.ok(open(blocks(5, 1)).isDue);
});

test("a pool that fills up makes it clean what else it would leave", () => {
  const machine = open(blocks(100, 85), { ...calm, use: 0.9 });
  assert.ok(machine.isDue && machine.pressure > 0.6);
  assert.equal(machine.next()?.livePages, 85);
  assert.equal(open(blocks(100, 85)).next(), null);
  assert.ok(open(blocks(100, 85), { ...calm, use: 0.96 }).isUrgent);
});

test("what has died and is not collected yet counts as given back", () => {
  const machine = open(blocks(100, 80), { ...calm, use: 0.96 });
  machine.died(0, 200);
  machine.poolIs({ ...calm, use: 0.96 });
  assert.ok(!machine.isDue);
  machine.died(cleanerDefaults.collectMs + 1, 0);
  assert.ok(machine.isDue, "for so long only");
});

test("the pace: the floor when idle, a share of the clients' rate under pressure, nothing saved for later", () => {
  const spend = (machine: CleanerMachine, clientRate: number): number => {
    let moved = 0;
    for (let nowMs = 0; nowMs < 10_000; nowMs += 5) {
      machine.clientsWrote(nowMs, (clientRate * nowMs) / 1000);
      if (nowMs < 5000 || machine.waitMs(nowMs, false) > 0) continue;
      machine.moved(nowMs, 64 * 4096);
      moved += 64 * 4096;
    }
    return moved / 5;
  };
  const near = (value: number, expected: number): void =>
    assert.ok(value > expected * 0.9 && value < expected * 1.2, `${value} is about ${expected}`);
  near(spend(open(blocks(100, 70 - 0.001)), 0), cleanerDefaults.rateMin);
  near(spend(open(blocks(100, 55)), 0), (cleanerDefaults.rateMin + cleanerDefaults.rateMax) / 2);
  const clientRate = 1_000_000;
  near(
    spend(open(blocks(100, 55)), clientRate),
    (cleanerDefaults.rateMin + cleanerDefaults.rateMax) / 2 + 2 * clientRate,
  );
});

test("requests that wait go first, until patience ends; not when space is urgent", () => {
  const machine = open(blocks(100, 69));
  machine.moved(1000, 4096);
  assert.ok(machine.waitMs(1100, true) > 0);
  assert.equal(machine.waitMs(1000 + cleanerDefaults.patienceMs, true), 0);
  assert.equal(open(blocks(100, 69), { ...calm, use: 0.99 }).waitMs(1, true), 0);
});

test("[C16] on a full pool one block is moved, then space must be seen to come back", () => {
  const machine = open(blocks(100, 50), { ...calm, isFull: true });
  assert.ok(machine.isUrgent);
  machine.moved(1, blockBytes);
  assert.ok(!machine.isDue);
  machine.poolIs({ ...calm, isFull: true, returns: 1 });
  assert.ok(machine.isDue);
});

test("a checkpoint is asked for when the pool waits for it, and not all the time", () => {
  const machine = open(blocks(100, 50));
  machine.died(1, 10_000);
  assert.ok(!machine.takeCheckpoint(10_000, true), "the usual ones do");
  machine.poolIs({ ...calm, isFull: true });
  assert.ok(machine.takeCheckpoint(10_000, true));
  machine.died(10_001, 1);
  assert.ok(!machine.takeCheckpoint(10_001, true));
  assert.ok(!machine.takeCheckpoint(20_000, false), "one block, and more are coming");
  assert.ok(machine.takeCheckpoint(20_000, true));
});

test("whatever is surveyed: the best come first, none is worth more than it costs, and cleaning all leaves nothing due", () => {
  const candidate = fc.record({
    livePages: fc.integer({ min: 1, max: 99 }),
    age: fc.integer({ min: 1, max: 1000 }),
  });
  fc.assert(
    fc.property(fc.array(candidate, { maxLength: 200 }), (drawn) => {
      const machine = open(drawn.map((one, id) => ({ id, ...one })));
      const score = ({ livePages, age }: CleanCandidate): number =>
        ((1 - livePages / pagesPerBlock) * age) / (1 + livePages / pagesPerBlock);
      let before = Number.POSITIVE_INFINITY;
      for (let next = machine.next(); next !== null; next = machine.next()) {
        assert.ok(score(next) <= before && next.livePages <= 95);
        before = score(next);
      }
      const live = drawn.reduce((sum, { livePages }) => sum + livePages, 0);
      const packed = Array.from({ length: Math.ceil(live / 98) }, (_, i) => Math.min(98, live - i * 98));
      assert.ok(!open(packed.map((livePages, id) => ({ id, livePages, age: 1 }))).isDue);
    }),
  );
});
