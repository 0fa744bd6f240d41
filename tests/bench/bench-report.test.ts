// The report of the benchmark: medians, ratios within a pass, and what counts as a regression.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BenchReport } from "./bench-report.ts";
import { formatReport, regressions, reportOf } from "./bench-report.ts";
import type { Figures } from "./bench-run.ts";
import { median } from "./median.ts";

const options = {
  passes: 3,
  secondsEach: 1,
  warmSeconds: 1,
  workset: "1GiB",
  acknowledge: "replicated",
} as const;

function figures(perSecond: number, cpuMicroseconds: number): Figures {
  const rest = { bytesPerSecond: perSecond * 4096, medianMicroseconds: 1, p99Microseconds: 2 };
  return { perSecond, cpuMicroseconds, ...rest, othersShare: 0.5 };
}

function report(speeds: readonly number[], cpu: number): BenchReport {
  const torus = speeds.map((speed) => figures(speed, cpu));
  const oneCopy = speeds.map(() => figures(100, 10));
  const use = (mebibytes: number) => ({
    residentBytes: mebibytes * 2 ** 20,
    proportionalBytes: (mebibytes - 1) * 2 ** 20,
    privateBytes: (mebibytes - 2) * 2 ** 20,
  });
  const pauses = {
    over25ms: 7,
    over50ms: 1,
    longestMs: 51,
    collections: 9,
    collectionMs: 80,
    longestCollectionMs: 12,
  };
  const processes = [
    { process: "torusblk", idle: use(64), after: use(128), mostBytes: 130 * 2 ** 20, pauses },
  ];
  return reportOf(options, [{ workload: "w", torus, oneCopy, halfP99Microseconds: 3 }], processes);
}

test("a median is the middle one, or between the two in the middle", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test("ratios are of figures of the same pass", () => {
  const torus = [figures(50, 20), figures(400, 20), figures(100, 40)];
  const oneCopy = [figures(100, 10), figures(400, 10), figures(50, 10)];
  const measured = { workload: "w", torus, oneCopy, halfP99Microseconds: null };
  const [found] = reportOf(options, [measured], []).workloads;
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

test("the tables have every figure, and the memory and pauses of every process", () => {
  const text = formatReport(report([100, 100, 100], 20));
  assert.match(text, /^w +100 +0 +20 +1 +2 +3 +100 +10 +1\.00 +50%$/m);
  assert.match(text, /^torusblk +64 +63 +62 +128 +127 +126 +130 +7 +1 +51 +9 +80 +12$/m);
});
