// BenchReport: the medians of a benchmark, as a table, as JSON, and against those of another run. Machines differ, and so does what
// else they do: what is compared are ratios to one copy, which was measured in the same minutes.

import { availableParallelism } from "node:os";
import { formatTable } from "../../src/cmd/shared/table.ts";
import { formatBytes } from "../../src/model/index.ts";
import type { BenchOptions, Figures, Memory, Passes } from "./bench-run.ts";

export interface WorkloadReport {
  readonly workload: string;
  /** The median of each figure. */
  readonly torus: Figures;
  readonly oneCopy: Figures;
  /** The median of what each pass gave. */
  readonly speedRatio: number;
  readonly cpuRatio: number;
}

export interface BenchReport {
  readonly options: BenchOptions;
  readonly cores: number;
  readonly workloads: readonly WorkloadReport[];
  readonly memory: readonly Memory[];
}

/** A ratio that got worse by more than this is a regression. */
export const regressionMax = 0.15;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function medians(passes: readonly Figures[]): Figures {
  const of = (figure: keyof Figures): number => median(passes.map((pass) => pass[figure]));
  return {
    perSecond: of("perSecond"),
    bytesPerSecond: of("bytesPerSecond"),
    cpuMicroseconds: of("cpuMicroseconds"),
    medianMicroseconds: of("medianMicroseconds"),
    p99Microseconds: of("p99Microseconds"),
    othersShare: of("othersShare"),
  };
}

export function reportOf(
  options: BenchOptions,
  measured: readonly Passes[],
  memory: readonly Memory[],
): BenchReport {
  const workloads = measured.map(({ workload, torus, oneCopy }) => {
    const ratio = (figure: keyof Figures): number =>
      median(torus.map((ours, pass) => ours[figure] / oneCopy[pass][figure]));
    return {
      workload,
      torus: medians(torus),
      oneCopy: medians(oneCopy),
      speedRatio: ratio("perSecond"),
      cpuRatio: ratio("cpuMicroseconds"),
    };
  });
  return { options, cores: availableParallelism(), workloads, memory };
}

/** What is worse in `report` than in `baseline`, a sentence each. Workloads that only one of them has are left out. */
export function regressions(report: BenchReport, baseline: BenchReport): string[] {
  return report.workloads.flatMap((now) => {
    const before = baseline.workloads.find(({ workload }) => workload === now.workload);
    if (before === undefined) return [];
    const found: string[] = [];
    if (now.speedRatio < before.speedRatio * (1 - regressionMax))
      found.push(`${now.workload}: ${told(now.speedRatio)} of one copy, it was ${told(before.speedRatio)}`);
    if (now.cpuRatio > before.cpuRatio * (1 + regressionMax))
      found.push(
        `${now.workload}: ${told(now.cpuRatio)} times the CPU of one copy, it was ${told(before.cpuRatio)}`,
      );
    return found;
  });
}

const told = (ratio: number): string => ratio.toFixed(2);

export function formatReport(report: BenchReport): string {
  const { passes, secondsEach, workset, acknowledge } = report.options;
  const right = { align: "right" } as const;
  const columns = [
    { title: "WORKLOAD" },
    ...["PER SECOND", "MB/S", "CPU US", "P50 US", "P99 US", "ONE COPY", "CPU US", "RATIO", "OTHERS"].map(
      (title) => ({ title, ...right }),
    ),
  ];
  const rows = report.workloads.map(({ workload, torus, oneCopy, speedRatio }) => [
    workload,
    torus.perSecond.toFixed(0),
    (torus.bytesPerSecond / 1e6).toFixed(0),
    torus.cpuMicroseconds.toFixed(0),
    torus.medianMicroseconds.toFixed(0),
    torus.p99Microseconds.toFixed(0),
    oneCopy.perSecond.toFixed(0),
    oneCopy.cpuMicroseconds.toFixed(0),
    told(speedRatio),
    `${(torus.othersShare * 100).toFixed(0)}%`,
  ]);
  const memory = report.memory.map(
    ({ process, idleBytes, afterBytes }) =>
      `${process} ${formatBytes(idleBytes)} idle, ${formatBytes(afterBytes)} in the end`,
  );
  return [
    formatTable(columns, rows, false),
    `${acknowledge}, ${passes} passes of ${secondsEach} s on ${workset}, ${report.cores} cores; memory:`,
    ...memory.map((line) => `  ${line}`),
  ].join("\n");
}
