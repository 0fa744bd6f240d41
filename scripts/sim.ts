// Simulates clusters from seeds: `npm run sim`. See docs/simulator.md, and --help.

import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import type { Canary, Outcome, World } from "../src/sim/index.ts";
import { canaries, canaryPlan, makePlan, runCanary, runPlan, runSeed, shrink } from "../src/sim/index.ts";
import { numberOf, readFlags } from "./script-flags.ts";

const usage = `
Simulates clusters from seeds (docs/simulator.md).

  --seed N      runs seed N once, twice if it passes, to show that it replays; on failure a shorter history of it
  --steps       with --seed: prints every line of the history
  --minutes M   runs seed after seed, from --from or a random one, for M minutes (1 without it) or until one fails
  --canaries    breaks one rule after another; each must be found. --only NAME runs one of them

Exit code 1 when something was wrong or a canary was not found, 2 when asked for wrongly.
`;
const minutesMax = 7 * 24 * 60;
const seedMax = 2 ** 31;

const canaryMsMax = 60_000;
const shrinkRunsMax = 60;
const shownLinesMax = 60;
const progressEveryMsMax = 30_000;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** The world of the run at hand: an error that nobody waited for is its. */
let world: World | null = null;
const onWorld = (made: World): void => {
  world = made;
};
process.on("unhandledRejection", (error) => world?.violateBy(error, "nobody waits for this"));

function describe({ plan, violation, sum, steps, answered, attached, moved, simulatedMs }: Outcome): string {
  const what = `${plan.peers} peers, ${plan.clients} clients, ${plan.volumes.length} volumes, ${plan.events.length} faults (${plan.kinds.join(", ")})`;
  const did = `${attached} attachments, ${answered} requests OK, ${moved} pages moved, ${steps} steps in ${(simulatedMs / 1000).toFixed(1)} s of its time`;
  return `${violation === null ? "ok" : `FAILED ${violation.rule}: ${violation.message}`}\n  ${what}\n  ${did}, history ${sum}`;
}

/** What is left of a failure after leaving out all that it does not need. */
async function showShort(failed: Outcome): Promise<void> {
  say(`  looking for a shorter history (at most ${shrinkRunsMax} runs)`);
  const short = await shrink(failed, { runsMax: shrinkRunsMax });
  say(`\nshortest found: ${describe(short)}`);
  say(`  faults:\n${short.plan.events.map((event) => `    ${JSON.stringify(event)}`).join("\n")}`);
  say(`  its last lines:\n${short.lines.slice(-shownLinesMax).join("\n")}`);
  say(`\nreplay: npm run sim -- --seed ${failed.plan.seed} --steps`);
}

async function oneSeed(seed: number, steps: boolean): Promise<number> {
  const outcome = await runSeed(seed, { onWorld, ...(steps ? { onLine: say } : {}) });
  say(`seed ${seed}: ${describe(outcome)}`);
  const again = await runSeed(seed, { onWorld });
  if (again.sum !== outcome.sum) {
    say(`seed ${seed} does not replay: ${outcome.sum}, then ${again.sum}`);
    return 1;
  }
  if (outcome.violation === null) return 0;
  if (!steps) await showShort(outcome);
  return 1;
}

/** What was done so far, in one line. */
class Totals {
  readonly #startedMs = performance.now();
  #runs = 0;
  #steps = 0;
  #answered = 0;
  #attached = 0;
  #simulatedMs = 0;

  add({ steps, answered, attached, simulatedMs }: Outcome): void {
    this.#runs += 1;
    this.#steps += steps;
    this.#answered += answered;
    this.#attached += attached;
    this.#simulatedMs += simulatedMs;
  }

  line(): string {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    const did = `${this.#answered} requests OK, ${this.#attached} attachments`;
    const time = `${(this.#simulatedMs / 3_600_000).toFixed(1)} h simulated in ${(seconds / 60).toFixed(1)} min`;
    return `${this.#runs} runs, ${this.#steps} steps (${Math.round(this.#steps / seconds)} a second), ${did}, ${time}`;
  }
}

async function manySeeds(from: number, minutes: number): Promise<number> {
  const startedMs = performance.now();
  const endMs = startedMs + minutes * 60_000;
  const progressEveryMs = minutes > 2 ? progressEveryMsMax : progressEveryMsMax / 6;
  const totals = new Totals();
  let shownMs = startedMs;
  let seed = from;
  // Whoever interrupts it learns how far it got.
  process.once("SIGINT", () => {
    say(`interrupted at seed ${seed}: ${totals.line()}; none failed`);
    process.exit(130);
  });
  say(`seeds from ${from}, for ${minutes} minutes`);
  for (; performance.now() < endMs; seed++) {
    const outcome = await runPlan(makePlan(seed), { onWorld });
    totals.add(outcome);
    if (performance.now() - shownMs > progressEveryMs) {
      shownMs = performance.now();
      say(`at seed ${seed}: ${totals.line()}`);
    }
    if (outcome.violation === null) continue;
    say(`seed ${seed}: ${describe(outcome)}\n${totals.line()}`);
    await showShort(outcome);
    return 1;
  }
  say(`seeds ${from} to ${seed - 1}: ${totals.line()}; none failed`);
  return 0;
}

async function oneCanary(canary: Canary): Promise<boolean> {
  const startedMs = performance.now();
  for (let tried = 0; performance.now() - startedMs < canaryMsMax; tried++) {
    // The one that is known to find it first, then any.
    const seed = tried === 0 ? canary.seed : tried;
    const { violation } = await runCanary(canary, seed);
    if (violation === null) continue;
    // What fails with the rule kept has found something else.
    if ((await runPlan(canaryPlan(canary, seed), { onWorld })).violation !== null) continue;
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    say(`found   ${canary.name} [${canary.of}] seed ${seed}, ${seconds} s: ${canary.how}`);
    say(`        ${violation.rule}: ${violation.message.split("\n")[0]}`);
    return true;
  }
  const { kinds } = canaryPlan(canary, 1);
  say(`MISSED  ${canary.name} [${canary.of}] with ${kinds.join(", ") || "no faults"}: ${canary.how}`);
  return false;
}

async function allCanaries(only: string | undefined): Promise<number> {
  let missed = 0;
  for (const canary of canaries) {
    if (only !== undefined && canary.name !== only) continue;
    if (!(await oneCanary(canary))) missed += 1;
  }
  say(missed === 0 ? "every canary was found" : `${missed} canaries were missed`);
  return missed === 0 ? 0 : 1;
}

function readCommand(): () => Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      from: { type: "string" },
      minutes: { type: "string", default: "1" },
      steps: { type: "boolean", default: false },
      canaries: { type: "boolean", default: false },
      only: { type: "string" },
    },
  });
  const { only } = values;
  if (only !== undefined && !canaries.some(({ name }) => name === only))
    throw new Error(`--only "${only}" is none of: ${canaries.map(({ name }) => name).join(", ")}`);
  if (values.canaries) return () => allCanaries(only);
  const seedOf = (flag: string, text: string): number => numberOf(flag, text, { min: 0, max: seedMax });
  if (values.seed !== undefined) {
    const seed = seedOf("--seed", values.seed);
    return () => oneSeed(seed, values.steps);
  }
  const from = values.from === undefined ? randomInt(1, seedMax) : seedOf("--from", values.from);
  const minutes = numberOf("--minutes", values.minutes, { min: 0.01, max: minutesMax, whole: false });
  return () => manySeeds(from, minutes);
}

const run = readFlags("sim", usage, readCommand);
if (run !== null) process.exitCode = await run();
