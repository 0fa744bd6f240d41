// BenchReport: the medians of a benchmark, as a table, as JSON, and against those of another run. Machines differ, and so does what
// else they do: what is compared are ratios to one copy, which was measured in the same minutes.

import { availableParallelism } from "node:os";
import { formatTable } from "../../src/cmd/shared/table.ts";
import type { BenchOptions, Figures, Passes, ProcessReport } from "./bench-run.ts";
import { median } from "./median.ts";

export interface WorkloadReport {
  readonly workload: string;
  /** The median of each figure. */
  readonly torus: Figures;
  readonly oneCopy: Figures;
  /** The median of what each pass gave. */
  readonly speedRatio: number;
  readonly cpuRatio: number;
  /** At half of that speed; null: not measured. */
  readonly halfP99Microseconds: number | null;
}

export interface BenchReport {
  readonly options: BenchOptions;
  readonly cores: number;
  readonly workloads: readonly WorkloadReport[];
  readonly processes: readonly ProcessReport[];
}

/** A ratio that got worse by more than this is a regression. */
export const regressionMax = 0.15;

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
  processes: readonly ProcessReport[],
): BenchReport {
  const workloads = measured.map(({ workload, torus, oneCopy, halfP99Microseconds }) => {
    const ratio = (figure: keyof Figures): number =>
      median(torus.map((ours, pass) => ours[figure] / oneCopy[pass][figure]));
    return {
      workload,
      torus: medians(torus),
      oneCopy: medians(oneCopy),
      speedRatio: ratio("perSecond"),
      cpuRatio: ratio("cpuMicroseconds"),
      halfP99Microseconds,
    };
  });
  return { options, cores: availableParallelism(), workloads, processes };
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
  const { passes, secondsEach, warmSeconds, workset, acknowledge } = report.options;
  const right = { align: "right" } as const;
  const columns = [
    { title: "WORKLOAD" },
    ...[
      ...["PER SECOND", "MB/S", "CPU US", "P50 US", "P99 US", "AT HALF", "ONE COPY", "CPU US", "RATIO"],
      "OTHERS",
    ].map((title) => ({ title, ...right })),
  ];
  const rows = report.workloads.map(({ workload, torus, oneCopy, speedRatio, halfP99Microseconds }) => [
    workload,
    torus.perSecond.toFixed(0),
    (torus.bytesPerSecond / 1e6).toFixed(0),
    torus.cpuMicroseconds.toFixed(0),
    torus.medianMicroseconds.toFixed(0),
    torus.p99Microseconds.toFixed(0),
    halfP99Microseconds === null ? "" : halfP99Microseconds.toFixed(0),
    oneCopy.perSecond.toFixed(0),
    oneCopy.cpuMicroseconds.toFixed(0),
    told(speedRatio),
    `${(torus.othersShare * 100).toFixed(0)}%`,
  ]);
  return [
    formatTable(columns, rows, false),
    `${acknowledge}, ${passes} passes of ${secondsEach} s after ${warmSeconds} s unmeasured, on ${workset}, ${report.cores} cores. P99 also at half of the speed.`,
    "",
    formatProcesses(report.processes),
  ].join("\n");
}

/** Memory in MiB: all that is mapped, with what is shared counted in part, and what is its own. */
function formatProcesses(processes: readonly ProcessReport[]): string {
  const titles = [
    ...["IDLE MIB", "SHARED OUT", "PRIVATE", "AFTER MIB", "SHARED OUT", "PRIVATE", "MOST"],
    ...["PAUSES >25 MS", ">50 MS", "LONGEST MS", "GC", "GC MS", "LONGEST MS"],
  ];
  const columns = [{ title: "PROCESS" }, ...titles.map((title) => ({ title, align: "right" as const }))];
  const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
  const rows = processes.map(({ process, idle, after, mostBytes, pauses }) => [
    process,
    ...[idle, after].flatMap((use) =>
      [use.residentBytes, use.proportionalBytes, use.privateBytes].map(mebibytes),
    ),
    mebibytes(mostBytes),
    ...[pauses.over25ms, pauses.over50ms, pauses.longestMs].map((value) => value.toFixed(0)),
    ...[pauses.collections, pauses.collectionMs, pauses.longestCollectionMs].map((value) => value.toFixed(0)),
  ]);
  return formatTable(columns, rows, false);
}
