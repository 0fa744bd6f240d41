// Measures what background work, and rest, cost: `npm run measure -- WHAT`. It starts a cluster of its own on this machine, on the disk of /tmp.
//
//   moving        what users notice of blocks being moved: the 99th percentile of their requests before, while and after
//   overwrites    what random overwrites of a volume that is 70 % full cost, and whether anything is left over
//     --mebibytes M   of the volume, 512 by default
//     --times T       so many times its size is written, 20 by default
//   volumes       what volumes cost a server that has them attached while nobody uses them, and attaching them
//     --count N       so many, 100 by default
//   -o json       for programs
//   --peer-flags  more flags of every torusd, as one word: --peer-flags "--repair-budget 16MiB/s"
//
// Exit code 1 when what was measured is not what is promised, 2 when asked for wrongly.

import { availableParallelism, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { inScope } from "../tests/chaos/run-scope.ts";
import { formatIdleVolumes, measureIdleVolumes } from "../tests/measure/idle-volumes.ts";
import { formatMoving, measureMoving } from "../tests/measure/moving-latency.ts";
import { formatOverwrites, measureOverwrites } from "../tests/measure/overwrites.ts";
import type { Scope } from "../tests/system/programs.ts";
import { ensureSystemPackages } from "./system-packages.ts";

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const complain = (line: string): void => void process.stderr.write(`${line}\n`);

interface Measured {
  readonly figures: object;
  readonly table: string;
  readonly isKept: boolean;
}

interface MeasureOptions {
  readonly scope: Scope;
  readonly say: (line: string) => void;
  readonly peerFlags: readonly string[];
  readonly mebibytes: number;
  readonly times: number;
  readonly count: number;
}

const measures: Readonly<Record<string, (options: MeasureOptions) => Promise<Measured>>> = {
  moving: async ({ scope, say, peerFlags }) => {
    const figures = await measureMoving(scope, say, peerFlags);
    const { reads, writes, flushes } = figures.during;
    const isKept = Math.max(reads, writes, flushes) <= figures.aim;
    return { figures, table: formatMoving(figures), isKept };
  },
  overwrites: async ({ scope, say, peerFlags, mebibytes, times }) => {
    const options = { volumeMebibytes: mebibytes, times, peerFlags, blockSize: "4MiB" };
    const figures = await measureOverwrites(scope, { ...options, poolMebibytes: 4 * mebibytes }, say);
    const isKept = figures.leaked.length === 0 && figures.wrong.length === 0;
    return { figures, table: formatOverwrites(figures), isKept };
  },
  volumes: async ({ scope, say, count }) => {
    const figures = await measureIdleVolumes(scope, count, say);
    return { figures, table: formatIdleVolumes(figures), isKept: true };
  },
};

function readFlags() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      output: { type: "string", short: "o", default: "text" },
      "peer-flags": { type: "string", default: "" },
      mebibytes: { type: "string", default: "512" },
      times: { type: "string", default: "20" },
      count: { type: "string", default: "100" },
    },
  });
  const [what] = positionals;
  if (positionals.length !== 1 || !Object.hasOwn(measures, what))
    throw new Error(`say what to measure: ${Object.keys(measures).join(" or ")}`);
  if (values.output !== "text" && values.output !== "json")
    throw new Error(`--output "${values.output}" is neither text nor json`);
  const [mebibytes, times] = [Number(values.mebibytes), Number(values.times)];
  if (!(Number.isInteger(mebibytes) && mebibytes >= 64))
    throw new Error("--mebibytes is a whole number from 64 on");
  const count = Number(values.count);
  if (!(Number.isInteger(count) && count > 0)) throw new Error("--count is a whole number above 0");
  if (!(times > 0)) throw new Error("--times is a number above 0");
  const peerFlags = values["peer-flags"].split(/\s+/).filter((flag) => flag !== "");
  return { what, isJson: values.output === "json", options: { peerFlags, mebibytes, times, count } };
}

async function main(): Promise<number> {
  let flags: ReturnType<typeof readFlags>;
  try {
    flags = readFlags();
  } catch (error) {
    complain(`measure: ${(error as Error).message}`);
    return 2;
  }
  const { what, isJson, options } = flags;
  const told = isJson ? complain : say;
  const problem = ensureSystemPackages(told);
  if (problem !== null) {
    complain(problem);
    return 1;
  }
  const loadBefore = loadavg()[1];
  const measured = await inScope((scope) => measures[what]({ scope, say: told, ...options }));
  const surroundings = { cores: availableParallelism(), loadBefore, loadAfter: loadavg()[1] };
  if (isJson) say(JSON.stringify({ surroundings, ...measured.figures }, null, 2));
  else {
    const load = `load ${loadBefore.toFixed(1)} before, ${surroundings.loadAfter.toFixed(1)} in the end`;
    say(`\n${measured.table}\non ${surroundings.cores} cores; ${load}`);
  }
  return measured.isKept ? 0 : 1;
}

process.exitCode = await main();
