// What processes cost: their CPU time and memory, and what the rest of the machine did meanwhile, out of /proc.

import { readFileSync } from "node:fs";

/** Of /proc, on every Linux: times are in hundredths of a second. */
const ticksPerSecond = 100;

/** CPU time of all threads of `pids` so far, in seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    // The name of the program, in parentheses, may hold blanks.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / ticksPerSecond;
}

/** CPU time of the whole machine so far: all of it, and what was not idle. */
export function machineSeconds(): { readonly total: number; readonly busy: number } {
  const fields = readFileSync("/proc/stat", "utf8").split("\n", 1)[0].split(/\s+/).slice(1, 9).map(Number);
  const total = fields.reduce((sum, ticks) => sum + ticks, 0);
  const idle = fields[3] + fields[4];
  return { total: total / ticksPerSecond, busy: (total - idle) / ticksPerSecond };
}

/** What a process takes of memory. */
export interface MemoryUse {
  /** All that is mapped to it: pages that others use too count for each. */
  readonly residentBytes: number;
  /** Such pages count as a part, for each process that uses them. */
  readonly proportionalBytes: number;
  /** What nobody else uses. */
  readonly privateBytes: number;
}

export function memoryUse(pid: number): MemoryUse {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kibibytes = (line: RegExp): number =>
    [...rollup.matchAll(line)].reduce((sum, match) => sum + Number(match[1]), 0);
  return {
    residentBytes: kibibytes(/^Rss:\s+(\d+) kB$/gm) * 1024,
    proportionalBytes: kibibytes(/^Pss:\s+(\d+) kB$/gm) * 1024,
    privateBytes: kibibytes(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm) * 1024,
  };
}

/** The most that a process ever took. */
export function mostBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
}
