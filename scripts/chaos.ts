// Chaos on real processes: `npm run chaos`, as root. Members of etcd, peers and hosts, each on a machine of its own (a network
// namespace), lose processes, lines and disks while clients write, flush and read back. See docs/operate/failures.md.
//
//   --minutes M   how long faults go on, 3 by default
//   --seed N      which faults, when and whom; a fresh one without it
//   --only KIND   these faults alone, or with --measure those of this name; repeat it for more
//   --logs DIR    puts there what every process printed
//   --canary      loses data on purpose: it must be found
//   --measure     how long what a user sees stands still, by what failed; -o json for programs, -o markdown for the guide
//
// Exit code 1 when a promise was not kept, a canary was not found, or something could not be measured; 2 when asked for wrongly.

import { randomInt } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { canaries, tryCanary } from "../tests/chaos/canaries.ts";
import { formatReport } from "../tests/chaos/chaos-report.ts";
import { ChaosRun } from "../tests/chaos/chaos-run.ts";
import { faultKinds } from "../tests/chaos/faults.ts";
import { formatMeasurement, markdownOf, measureAll, measures } from "../tests/chaos/measure/measurement.ts";
import { inScope } from "../tests/chaos/run-scope.ts";
import { requireMachines } from "../tests/system/machines.ts";
import { ensureSystemPackages } from "./system-packages.ts";

const minutesMax = 24 * 60;
const outputs = ["text", "json", "markdown"];

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const complain = (line: string): void => void process.stderr.write(`${line}\n`);

async function chaos({ seed, minutes, only, logs }: Flags): Promise<number> {
  return inScope(async (scope) => {
    say(`seed ${seed}, for ${minutes} minutes`);
    const options = { seed, runMs: minutes * 60_000, ...(only === undefined ? {} : { kinds: only }) };
    const run = await ChaosRun.start(options, { scope, say });
    const report = await run.run();
    if (report.violations.length > 0) say(run.cluster.lastWords());
    if (logs !== undefined) {
      mkdirSync(logs, { recursive: true });
      for (const { name, words } of run.cluster.nodes) writeFileSync(join(logs, `${name}.log`), words);
    }
    say(`\n${formatReport(report)}`);
    return report.violations.length === 0 ? 0 : 1;
  });
}

type Flags = ReturnType<typeof readFlags>;

async function allCanaries(): Promise<number> {
  let missed = 0;
  for (const canary of canaries) {
    const found = await inScope((scope) => tryCanary(canary, { scope, say }));
    if (found === null) missed += 1;
    say(found === null ? `MISSED  ${canary.name}: ${canary.how}` : `found   ${canary.name}: ${canary.how}`);
  }
  return missed === 0 ? 0 : 1;
}

async function measure(only: readonly string[] | undefined, output: string): Promise<number> {
  const chosen = measures.filter(({ name }) => only?.some((part) => name.includes(part)) ?? true);
  const tell = output === "text" ? say : complain;
  const measurement = await inScope((scope) => measureAll(chosen, { scope, say: tell }));
  if (output === "json") say(JSON.stringify(measurement, null, 2));
  else if (output === "markdown") say(markdownOf(measurement));
  else say(`\n${formatMeasurement(measurement)}`);
  for (const { measure: name, reason } of measurement.failures) complain(`not measured: ${name}: ${reason}`);
  return measurement.failures.length === 0 ? 0 : 1;
}

function readFlags() {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "3" },
      seed: { type: "string", default: `${randomInt(1, 2 ** 31)}` },
      only: { type: "string", multiple: true },
      logs: { type: "string" },
      canary: { type: "boolean", default: false },
      measure: { type: "boolean", default: false },
      output: { type: "string", short: "o", default: "text" },
    },
  });
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (!(minutes > 0 && minutes <= minutesMax))
    throw new Error(`--minutes "${values.minutes}" is not a number from above 0 to ${minutesMax}`);
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new Error(`--seed "${values.seed}" is not a whole number`);
  if (!outputs.includes(values.output))
    throw new Error(`--output "${values.output}" is none of: ${outputs.join(", ")}`);
  const unknown = values.measure ? undefined : values.only?.find((kind) => faultKinds[kind] === undefined);
  if (unknown !== undefined)
    throw new Error(`--only "${unknown}" is none of: ${Object.keys(faultKinds).join(", ")}`);
  return { ...values, minutes, seed };
}

async function main(): Promise<number> {
  let flags: Flags;
  try {
    flags = readFlags();
  } catch (error) {
    complain(`chaos: ${(error as Error).message}`);
    return 2;
  }
  const problem = ensureSystemPackages(say);
  if (problem !== null) {
    complain(problem);
    return 1;
  }
  try {
    requireMachines();
  } catch (error) {
    complain(`chaos: ${(error as Error).message}`);
    return 1;
  }
  if (flags.canary) return allCanaries();
  if (flags.measure) return measure(flags.only, flags.output);
  return chaos(flags);
}

process.exitCode = await main();
