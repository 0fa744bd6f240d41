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
      aim: aim === null ? null : aim / scale,
    };
  });
}

/** Rejects when something could not be measured. */
export async function measureAll(
  chosen: readonly Measure[],
  deps: { readonly scope: Scope; readonly say: (line: string) => void },
): Promise<Measurement> {
  const loadBefore = loadavg()[1];
  const bench = await Bench.start(deps.scope);
  const results: Result[] = [];
  for (const measure of chosen) {
    const runs: Figures[] = [];
    for (let time = 1; time <= times; time++) {
      await bench.reset();
      const figures = await measure.run(bench);
      const told = Object.entries(figures).map(([figure, value]) => `${figure} ${Math.round(value)}`);
      deps.say(
        `${measure.name}, ${time} of ${times}: ${told.join(", ")}${measure.unit === "s" ? " ms" : ""}`,
      );
      runs.push(figures);
    }
    results.push(...resultsOf(measure, runs));
  }
  await bench.reset();
  const surroundings = { cores: availableParallelism(), loadBefore, loadAfter: loadavg()[1] };
  return { surroundings, results };
}

export function formatMeasurement({ surroundings, results }: Measurement): string {
  const shown = (value: number, unit: string): string =>
    unit === "s" ? `${value.toFixed(2)} s` : `${value}`;
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
  const { cores, loadBefore, loadAfter } = surroundings;
  const load = `load ${loadBefore.toFixed(1)} before, ${loadAfter.toFixed(1)} in the end`;
  return `${formatTable(columns, rows, false)}\neach ${times} times, on ${cores} cores; ${load}\n`;
}
