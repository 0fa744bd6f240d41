// A short run of chaos, so that the harness works when it is wanted, and one of its canaries, so that it would notice.
// `npm run chaos` goes on for longer.

import assert from "node:assert/strict";
import { test } from "node:test";
import { canaries, tryCanary } from "../chaos/canaries.ts";
import { ChaosRun } from "../chaos/chaos-run.ts";
import { inScope } from "../chaos/run-scope.ts";
import { scale } from "./scale.ts";

const seed = 20;
const rounds = Math.ceil(scale);

test(`chaos, seed ${seed}: nothing that was promised is lost`, async (t) => {
  await inScope(async (scope) => {
    const say = (line: string): void => t.diagnostic(line);
    const options = { seed, runMs: Number.POSITIVE_INFINITY, roundsMax: rounds };
    const run = await ChaosRun.start(options, { scope, say });
    const { violations, flushes, faults } = await run.run();
    assert.deepEqual(violations, [], run.cluster.lastWords());
    assert.ok(flushes > 0, "flushes were answered");
    assert.ok(faults.size > 0, "faults were met");
  });
});

test("a flush that never was is found to be one", async (t) => {
  const canary = canaries.find(({ name }) => name === "phantom-flush")!;
  await inScope(async (scope) => {
    const found = await tryCanary(canary, { scope, say: (line) => t.diagnostic(line) });
    assert.match(found ?? "nothing", /page \d+ holds .*; it must be version \d+/);
  });
});
