// The report of the benchmark: medians, ratios within a pass, and what counts as a regression.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BenchReport } from "./bench-report.ts";
import { formatReport, median, regressions, reportOf } from "./bench-report.ts";
import type { Figures } from "./bench-run.ts";

const options = { passes: 3, secondsEach: 1, workset: "1GiB", acknowledge: "replicated" } as const;

function figures(perSecond: number, cpuMicroseconds: number): Figures {
  const rest = { bytesPerSecond: perSecond * 4096, medianMicroseconds: 1, p99Microseconds: 2 };
  return { perSecond, cpuMicroseconds, ...rest, othersShare: 0.5 };
}

function report(speeds: readonly number[], cpu: number): BenchReport {
  const torus = speeds.map((speed) => figures(speed, cpu));
  const oneCopy = speeds.map(() => figures(100, 10));
  const memory = [{ process: "torusblk", idleBytes: 2 ** 26, afterBytes: 2 ** 27 }];
  return reportOf(options, [{ workload: "w", torus, oneCopy }], memory);
}

test("a median is the middle one, or between the two in the middle", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test("ratios are of figures of the same pass", () => {
  const torus = [figures(50, 20), figures(400, 20), figures(100, 40)];
  const oneCopy = [figures(100, 10), figures(400, 10), figures(50, 10)];
  const [found] = reportOf(options, [{ workload: "w", torus, oneCopy }], []).workloads;
  assert.equal(found.speedRatio, 1);
  assert.equal(found.cpuRatio, 2);
  assert.equal(found.torus.perSecond, 100);
});

test("slower, or dearer, by more than 15 % is a regression, and less is not", () => {
  const baseline = report([100, 100, 100], 20);
  assert.deepEqual(regressions(report([86, 90, 86], 22), baseline), []);
  assert.match(
    regressions(report([84, 84, 200], 20), baseline).join(),
    /^w: 0\.84 of one copy, it was 1\.00$/,
  );
  assert.match(regressions(report([100, 100, 100], 24), baseline).join(), /^w: 2\.40 times the CPU/);
  assert.deepEqual(regressions(report([1, 1, 1], 20), { ...baseline, workloads: [] }), []);
});

test("the table has every figure, and the memory of every process", () => {
  const text = formatReport(report([100, 100, 100], 20));
  assert.match(text, /^w +100 +0 +20 +1 +2 +100 +10 +1\.00 +50%$/m);
  assert.match(text, /torusblk 64\.0 MiB idle, 128\.0 MiB in the end/);
});
