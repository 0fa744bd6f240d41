// The simulator: seeds that must pass, histories that must repeat, and a few of the canaries.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Outcome } from "./index.ts";
import { canaries, makePlan, regressions, runCanary, runPlan, shrink } from "./index.ts";

const quickSeeds = Array.from({ length: 16 }, (_, i) => 201 + i);
const quickMs = 6000;
const quickPages = 64;

function requireSound({ plan, violation, lines }: Outcome): void {
  if (violation === null) return;
  const last = lines.slice(-40).join("\n");
  assert.fail(
    `seed ${plan.seed}: ${violation.rule}: ${violation.message}\n${last}\nreplay: npm run sim -- --seed ${plan.seed}`,
  );
}

/** The plan of `seed`, cut short: tests have seconds, `npm run sim` has minutes. */
function quickPlan(seed: number) {
  const plan = makePlan(seed);
  const workload = { ...plan.workload, thinkMsMax: Math.max(60, plan.workload.thinkMsMax) };
  const volumes = plan.volumes.map((volume) => ({ ...volume, pages: Math.min(quickPages, volume.pages) }));
  return { ...plan, durationMs: Math.min(quickMs, plan.durationMs), volumes, workload };
}

for (const seed of quickSeeds) {
  test(`seed ${seed}: what was flushed is there, and all goes on after the faults`, async () => {
    requireSound(await runPlan(quickPlan(seed)));
  });
}

for (const { seed, kinds, plan, bug } of regressions) {
  test(`seed ${seed} does not show again: ${bug}`, async () => {
    requireSound(await runPlan(makePlan(seed, kinds ?? null, plan)));
  });
}

test("a seed has one history, line by line", async () => {
  const lines: string[][] = [[], []];
  const outcomes: Outcome[] = [];
  for (const kept of lines)
    outcomes.push(await runPlan(quickPlan(77), { onLine: (line) => kept.push(line) }));
  assert.deepEqual(lines[0], lines[1]);
  assert.equal(outcomes[0].sum, outcomes[1].sum);
  assert.equal(outcomes[0].steps, outcomes[1].steps);
  assert.notEqual((await runPlan(quickPlan(78))).sum, outcomes[0].sum);
});

const quickCanaries = [
  ...["fence-forgotten", "start-without-sync", "silence-is-absence", "shared-index"],
  ...["scrub-sees-nothing", "rot-is-sealed"],
];

for (const name of quickCanaries) {
  test(`the canary ${name} is found`, async () => {
    const canary = canaries.find((candidate) => candidate.name === name);
    assert.ok(canary !== undefined);
    assert.notEqual((await runCanary(canary, canary.seed)).violation, null);
  });
}

test("a failure is made shorter and stays the same failure", async () => {
  const canary = canaries.find(({ name }) => name === "unverified-reads");
  assert.ok(canary !== undefined);
  const failed = await runPlan(
    { ...makePlan(3, ["pause"]), durationMs: 6000 },
    { breakage: canary.breakage },
  );
  assert.notEqual(failed.violation, null);
  const short = await shrink(failed, { breakage: canary.breakage, runsMax: 8 });
  assert.equal(short.violation?.rule, failed.violation?.rule);
  assert.ok(short.plan.events.length < failed.plan.events.length);
});
