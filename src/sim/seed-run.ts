// A seed, run; and a failure made short: the same plan with as few of its faults, and as little else, as still fails in the
// same way. Every attempt is a whole run, so what is left is a history that replays exactly.

import type { Breakage } from "./cluster.ts";
import type { FaultEvent, FaultKind, Plan } from "./plan.ts";
import { makePlan } from "./plan.ts";
import type { Outcome, RunOptions } from "./run.ts";
import { runPlan } from "./run.ts";

export function runSeed(
  seed: number,
  options: RunOptions & { readonly kinds?: readonly FaultKind[] } = {},
): Promise<Outcome> {
  return runPlan(makePlan(seed, options.kinds ?? null), options);
}

export interface ShrinkOptions {
  readonly breakage?: Breakage;
  readonly runsMax: number;
}

/** A shorter plan that breaks the same rule, with its outcome; the one given when none was found. */
export async function shrink(failed: Outcome, options: ShrinkOptions): Promise<Outcome> {
  let best = failed;
  let runs = 0;
  const attempt = async (plan: Plan): Promise<boolean> => {
    if (runs >= options.runsMax) return false;
    runs += 1;
    const { breakage } = options;
    const outcome = await runPlan(plan, breakage === undefined ? {} : { breakage });
    if (outcome.violation === null || outcome.violation.rule !== failed.violation?.rule) return false;
    best = outcome;
    return true;
  };
  for (let part = Math.ceil(best.plan.events.length / 2); part >= 1; part = Math.floor(part / 2))
    await dropEvents(() => best.plan, part, attempt);
  for (const smaller of smallerPlans(best.plan)) await attempt({ ...best.plan, ...smaller });
  return best;
}

/** Leaves out runs of `count` events, one after another, as long as it still fails. */
async function dropEvents(
  plan: () => Plan,
  count: number,
  attempt: (plan: Plan) => Promise<boolean>,
): Promise<void> {
  for (let from = 0; from < plan().events.length; ) {
    const { events } = plan();
    const left: FaultEvent[] = [...events.slice(0, from), ...events.slice(from + count)];
    if (!(await attempt({ ...plan(), events: left }))) from += count;
  }
}

function smallerPlans(plan: Plan): Partial<Plan>[] {
  const { workload } = plan;
  return [
    { clients: 1 },
    { clients: 2 },
    { volumes: plan.volumes.slice(0, 1) },
    { metadataTroubleOneIn: 0 },
    { clockRates: {} },
    { workload: { ...workload, depth: 1 } },
    { workload: { ...workload, thinkMsMax: 1000 } },
  ].filter((smaller) => !("clients" in smaller) || (smaller.clients ?? 0) < plan.clients);
}
