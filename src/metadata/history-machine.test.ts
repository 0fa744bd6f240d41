// Which points a history has: spacing, what is forced, what passes, and that the list is bounded whatever happens.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { HistoryMark } from "./history-machine.ts";
import {
  historyAfter,
  historyBytes,
  historyPointsMax,
  isExpired,
  pointAt,
  requireKeepMs,
} from "./history-machine.ts";
import type { HeadRecord, HistoryRecord } from "./records.ts";

const blockBytes = 2 ** 20;
const keepMs = 48_000;

function headOf(epoch: number, index: number, timeMs: number): HeadRecord {
  const ref = { type: 1, volume: 7, epoch, index };
  return {
    epoch,
    root: { ref, offset: 0, length: 1, checksum: 0 },
    ringVersion: 1,
    replayFrom: index,
    sequence: index,
    previous: 0,
    positionIndex: index,
    positionOffset: 0,
    usedBytes: 0,
    logBytes: 10 * blockBytes,
    ended: false,
    timeMs,
    device: null,
  };
}

const mark: HistoryMark = { sizeBytes: 2 ** 30, blockBytes, endOfBefore: 5, isBreak: false };
const empty: HistoryRecord = { keepMs, points: [] };

/** Heads one after another, each at its own time. */
function after(
  history: HistoryRecord,
  heads: readonly HeadRecord[],
  marked: Partial<HistoryMark> = {},
): HistoryRecord {
  return heads.reduce(
    (known, head) => historyAfter(known, head, { ...mark, ...marked }, head.timeMs),
    history,
  );
}

const times = ({ points }: HistoryRecord): number[] => points.map(({ timeMs }) => timeMs);

test("history: a point when enough time has passed, or enough log; the same object when nothing changes", () => {
  const first = after(empty, [headOf(1, 1, 10_000)]);
  assert.deepEqual(times(first), [10_000]);
  assert.equal(historyAfter(first, headOf(1, 2, 10_999), mark, 10_999), first);
  assert.deepEqual(times(after(first, [headOf(1, 2, 11_000)])), [10_000, 11_000]);
  assert.deepEqual(times(after(first, [headOf(1, 1024, 10_001)])), [10_000], "1023 MiB");
  assert.deepEqual(times(after(first, [headOf(1, 1025, 10_001)])), [10_000, 10_001]);
});

test("history: the first point is of when it began, not of when something was last written", () => {
  const begun = historyAfter(empty, headOf(3, 9, 0), mark, 5000);
  assert.deepEqual(times(begun), [5000]);
  assert.equal(pointAt(begun, 4999), null);
  assert.equal(pointAt(begun, 5000)?.epoch, 3);
});

test("history: the first head of an epoch, one after a break and one of another size are always points, and say so", () => {
  const first = after(empty, [headOf(1, 1, 1000)]);
  const next = after(first, [headOf(3, 2, 1001)]);
  assert.deepEqual([next.points[1].previousEnd, next.points[1].isForced], [5, true]);
  assert.equal(after(first, [headOf(1, 2, 1001)], { isBreak: true }).points[1].isForced, true);
  assert.equal(after(first, [headOf(1, 2, 1001)], { sizeBytes: 2 ** 20 }).points[1].isForced, true);
  assert.equal(after(first, [headOf(1, 2, 2000)]).points[1].isForced, false);
  assert.equal(after(first, [headOf(1, 2, 2000)]).points[1].previousEnd, null);
});

test("history: what passes is what a later point stands for, whether or not the head is a point", () => {
  const some = after(empty, [headOf(1, 1, 1000), headOf(1, 2, 20_000), headOf(1, 3, 40_000)]);
  assert.equal(isExpired(some, 67_999), false);
  assert.equal(historyAfter(some, headOf(1, 3, 40_000), mark, 67_999), some);
  assert.ok(isExpired(some, 68_000));
  assert.deepEqual(times(historyAfter(some, headOf(1, 3, 40_000), mark, 68_000)), [20_000, 40_000]);
  assert.deepEqual(
    times(historyAfter(some, headOf(1, 3, 40_000), mark, 10 ** 9)),
    [40_000],
    "never the last",
  );
});

test("history: what it costs is the log since its oldest point, less what the head needs of it all the same", () => {
  const some = after(empty, [headOf(1, 1, 1000), headOf(1, 31, 20_000), headOf(2, 11, 21_000)]);
  assert.deepEqual(
    some.points.map(({ blocks }) => blocks),
    [0, 30, 41],
  );
  assert.equal(historyBytes(some, headOf(2, 15, 21_500), blockBytes), 45 * blockBytes);
  assert.equal(historyBytes(some, { ...headOf(2, 15, 21_500), logBytes: 100 * blockBytes }, blockBytes), 0);
  assert.equal(historyBytes(empty, headOf(2, 15, 21_500), blockBytes), 0);
});

test("history: the list is bounded; what is forced stays as long as anything else may go; the oldest goes last of all", () => {
  const step = fc.record({
    epochs: fc.constantFrom(0, 0, 0, 1, 2),
    blocks: fc.integer({ min: 0, max: 4000 }),
    ms: fc.integer({ min: 0, max: 2000 }),
    isBreak: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 100, maxLength: 300 }), (steps) => {
      let history: HistoryRecord = { keepMs: 10 ** 9, points: [] };
      let [epoch, index, timeMs] = [1, 1, 1000];
      let forced = 0;
      for (const { epochs, blocks, ms, isBreak } of steps) {
        epoch += epochs;
        index = epochs > 0 ? 1 + blocks : index + blocks;
        timeMs += ms;
        const isFirst = history.points.length === 0;
        if ((isBreak || epochs > 0) && !isFirst) forced += 1;
        history = historyAfter(history, headOf(epoch, index, timeMs), { ...mark, isBreak }, timeMs);
      }
      const { points } = history;
      assert.ok(points.length <= historyPointsMax);
      assert.equal(points.at(-1)?.epoch, epoch);
      const kept = points.slice(1).filter(({ isForced }) => isForced).length;
      assert.ok(kept === forced || points.slice(1, -1).every(({ isForced }) => isForced));
      for (const [i, point] of points.entries()) {
        if (i === 0) continue;
        assert.ok(point.timeMs >= points[i - 1].timeMs && point.blocks >= points[i - 1].blocks);
        assert.equal(point.epoch !== points[i - 1].epoch, point.previousEnd !== null);
      }
    }),
    { numRuns: 60 },
  );
});

test("history: how far it can reach", () => {
  for (const wrong of [0, 999, 1.5, Number.NaN, 367 * 86_400_000]) assert.throws(() => requireKeepMs(wrong));
  requireKeepMs(1000);
});
