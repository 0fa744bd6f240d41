// The measurement: each measure several times, with the median and the worst of each figure.

import { availableParallelism, loadavg } from "node:os";
import { formatTable } from "../../../src/cmd/shared/table.ts";
import type { Scope } from "../../system/programs.ts";
import type { Figures, Measure } from "./bench.ts";
import { Bench } from "./bench.ts";
import { etcdStalls } from "./etcd-stalls.ts";
import { failOvers } from "./fail-over.ts";
import { peerStalls } from "./peer-stalls.ts";

const times = 3;

export const measures: readonly Measure[] = [...failOvers, ...peerStalls, ...etcdStalls];

/** What else the machine had to do. */
export interface Surroundings {
  readonly cores: number;
  /** Processes that wanted to run in the last five minutes, on average: before, and in the end. */
  readonly loadBefore: number;
  readonly loadAfter: number;
}

export interface Measurement {
  readonly surroundings: Surroundings;
  readonly results: readonly Result[];
  /** What could not be measured, and why. */
  readonly failures: readonly { readonly measure: string; readonly reason: string }[];
}

export interface Result {
  readonly measure: string;
  readonly figure: string;
  readonly unit: "s" | "transactions";
  readonly runs: readonly number[];
  readonly median: number;
  readonly worst: number;
  readonly aim: number | null;
}

/** Milliseconds become seconds. */
function resultsOf({ name, unit, aim }: Measure, runs: readonly Figures[]): Result[] {
  const scale = unit === "s" ? 1000 : 1;
  const aimed = (figure: string): number | null => {
    const ms = typeof aim === "object" ? aim?.[figure] : aim;
    return ms == null ? null : ms / scale;
  };
  return Object.keys(runs[0]).map((figure) => {
    const values = runs.map((run) => Math.round(run[figure] * (1000 / scale)) / 1000);
    const sorted = [...values].sort((a, b) => a - b);
    return {
      measure: name,
      figure,
      unit,
      runs: values,
      median: sorted[Math.floor(sorted.length / 2)],
      worst: sorted[sorted.length - 1],
      aim: aimed(figure),
    };
  });
}

/** One that fails leaves the others alone: it is told in the end. */
export async function measureAll(
  chosen: readonly Measure[],
  deps: { readonly scope: Scope; readonly say: (line: string) => void },
): Promise<Measurement> {
  const loadBefore = loadavg()[1];
  const bench = await Bench.start(deps.scope);
  const results: Result[] = [];
  const failures: { measure: string; reason: string }[] = [];
  for (const measure of chosen) {
    const runs: Figures[] = [];
    const wanted = measure.times ?? times;
    for (let time = 1; time <= wanted; time++) {
      try {
        await bench.reset();
        const figures = await measure.run(bench);
        const told = Object.entries(figures).map(([figure, value]) => `${figure} ${Math.round(value)}`);
        const unit = measure.unit === "s" ? " ms" : "";
        deps.say(`${measure.name}, ${time} of ${wanted}: ${told.join(", ")}${unit}`);
        runs.push(figures);
      } catch (error) {
        const { message: reason } = error as Error;
        deps.say(`${measure.name}, ${time} of ${wanted}: failed: ${reason}`);
        failures.push({ measure: measure.name, reason });
      }
    }
    if (runs.length > 0) results.push(...resultsOf(measure, runs));
  }
  const surroundings = { cores: availableParallelism(), loadBefore, loadAfter: loadavg()[1] };
  return { surroundings, results, failures };
}

function shown(value: number, unit: Result["unit"]): string {
  return unit === "s" ? `${value.toFixed(2)} s` : `${value}`;
}

/** As docs/operate/failures.md has it. */
export function markdownOf({ surroundings, results }: Measurement): string {
  const lines = ["| what | figure | median | worst | times | aim |", "|---|---|---:|---:|---:|---:|"];
  let last = "";
  for (const { measure, figure, unit, runs, median, worst, aim } of results) {
    const what = measure === last ? "" : measure.replace(/--\w+/, (flag) => `\`${flag}\``);
    last = measure;
    const figures = [shown(median, unit), shown(worst, unit), runs.length, aim === null ? "" : `${aim} s`];
    lines.push(`| ${[what, figure, ...figures].join(" | ")} |`.replaceAll("|  |", "| |"));
  }
  return `${lines.join("\n")}\n\n${surroundingsOf(surroundings)}\n`;
}

function surroundingsOf({ cores, loadBefore, loadAfter }: Surroundings): string {
  return `each ${times} times unless said, on ${cores} cores; load ${loadBefore.toFixed(1)} before, ${loadAfter.toFixed(1)} in the end`;
}

export function formatMeasurement({ surroundings, results }: Measurement): string {
  const right = { align: "right" } as const;
  const columns = [
    { title: "WHAT" },
    { title: "FIGURE" },
    { title: "MEDIAN", ...right },
    { title: "WORST", ...right },
    { title: "AIM", ...right },
  ];
  const rows = results.map(({ measure, figure, unit, median, worst, aim }) => [
    measure,
    figure,
    shown(median, unit),
    shown(worst, unit),
    aim === null ? "" : shown(aim, unit),
  ]);
  return `${formatTable(columns, rows, false)}\n${surroundingsOf(surroundings)}\n`;
}
