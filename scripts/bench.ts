// The benchmark: `npm run bench`. A cluster of three peers on this machine with default settings, and one copy served by nbdkit
// beside it, driven by fio with the same workloads one after the other. docs/performance.md has what it told.
//
//   --only PART        workloads whose name has PART in it; repeat it for more
//   --passes N         of each workload, 3 by default: what is shown are medians
//   --seconds N        for each pass, 5 by default
//   --warm N           seconds of each workload that come first and are not measured, 5 by default: a daemon that was just started runs code
//                      that was not optimized yet, at two to three times the cost
//   --workset SIZE     what is filled first and then touched, 1GiB by default
//   --writeback        the volume answers writes that are buffered at the server
//   --baseline FILE    compares with what `-o json` once printed; exit code 1 when a ratio to one copy is worse by over 15 %
//   -o json            for programs
//
// Exit code 1 also when something could not be measured; 2 when asked for wrongly.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { BenchReport } from "../tests/bench/bench-report.ts";
import { formatReport, regressions, reportOf } from "../tests/bench/bench-report.ts";
import type { Passes } from "../tests/bench/bench-run.ts";
import { BenchRun } from "../tests/bench/bench-run.ts";
import type { Workload } from "../tests/bench/workloads.ts";
import { workloads } from "../tests/bench/workloads.ts";
import { inScope } from "../tests/chaos/run-scope.ts";
import { ensureSystemPackages } from "./system-packages.ts";

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const complain = (line: string): void => void process.stderr.write(`${line}\n`);

function readFlags() {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true },
      passes: { type: "string", default: "3" },
      seconds: { type: "string", default: "5" },
      warm: { type: "string", default: "5" },
      workset: { type: "string", default: "1GiB" },
      writeback: { type: "boolean", default: false },
      baseline: { type: "string" },
      output: { type: "string", short: "o", default: "text" },
    },
  });
  const [passes, secondsEach, warmSeconds] = [values.passes, values.seconds, values.warm].map(Number);
  if (!Number.isInteger(passes) || passes < 1) throw new Error(`--passes "${values.passes}" is no number`);
  if (!Number.isInteger(secondsEach) || secondsEach < 1)
    throw new Error(`--seconds "${values.seconds}" is no number of seconds`);
  if (!Number.isInteger(warmSeconds) || warmSeconds < 0)
    throw new Error(`--warm "${values.warm}" is no number of seconds`);
  if (!/^\d+[MG]iB$/.test(values.workset))
    throw new Error(`--workset "${values.workset}" is not a size such as 512MiB or 2GiB`);
  if (values.output !== "text" && values.output !== "json")
    throw new Error(`--output "${values.output}" is neither text nor json`);
  const chosen = workloads.filter(({ name }) => values.only?.some((part) => name.includes(part)) ?? true);
  if (chosen.length === 0)
    throw new Error(`--only names none of: ${workloads.map(({ name }) => name).join(", ")}`);
  const acknowledge = values.writeback ? "writeback" : "replicated";
  const baseline: BenchReport | null =
    values.baseline === undefined ? null : JSON.parse(readFileSync(values.baseline, "utf8"));
  const options = { passes, secondsEach, warmSeconds, workset: values.workset, acknowledge } as const;
  return { options, chosen, baseline, isJson: values.output === "json" };
}

function measure({ options, chosen, isJson }: ReturnType<typeof readFlags>): Promise<BenchReport> {
  return inScope(async (scope) => {
    const run = await BenchRun.start(options, { scope, say: isJson ? complain : say });
    const measured: Passes[] = [];
    for (const workload of chosen as readonly Workload[]) measured.push(await run.measure(workload));
    return reportOf(options, measured, await run.processes());
  });
}

async function main(): Promise<number> {
  let flags: ReturnType<typeof readFlags>;
  try {
    flags = readFlags();
  } catch (error) {
    complain(`bench: ${(error as Error).message}`);
    return 2;
  }
  const problem = ensureSystemPackages(flags.isJson ? complain : say);
  if (problem !== null) {
    complain(problem);
    return 1;
  }
  const report = await measure(flags);
  say(flags.isJson ? JSON.stringify(report, null, 2) : `\n${formatReport(report)}`);
  const worse = flags.baseline === null ? [] : regressions(report, flags.baseline);
  for (const line of worse) complain(`worse than the baseline: ${line}`);
  return worse.length === 0 ? 0 : 1;
}

process.exitCode = await main();
