// TailRecoverer: when a log that its writer left is seen to, and by whom.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { VolumeState } from "#metadata";
import { TorusError } from "#model";
import { silentLog } from "../peer/loopback.fixture.ts";
import { SimClock } from "../sim/clock.ts";
import type { TailRecovererDeps } from "./tail-recoverer.ts";
import { TailRecoverer } from "./tail-recoverer.ts";
import { upkeepDefaults } from "./upkeep-deps.ts";

const options = { ...upkeepDefaults, repairAfterMs: 60_000, watchEveryMs: 3000 };

function bench(self: string) {
  const clock = new SimClock();
  const cluster = { isUnion: false, isPaused: false, isAttached: false, isLost: false };
  const recovered: string[] = [];
  let reads = 0;
  const volume = () => ({ spec: { id: 1, name: "v" }, lease: cluster.isAttached ? {} : null });
  const deps = {
    clock,
    log: silentLog,
    metadata: {
      snapshot: async () => {
        reads += 1;
        return {
          ringVersion: 1,
          ring: cluster.isUnion ? { parts: {} } : {},
          bytes: 100,
          volumes: new Map([[1, volume()]]),
          upkeep: { paused: cluster.isPaused },
        };
      },
    },
    rank: () => ["a", "b", "c", "d"].indexOf(self),
    hasTail: (state: VolumeState) => state.spec.id === 1,
    recoverTail: async (name: string) => {
      recovered.push(name);
      if (cluster.isLost) throw new TorusError("corrupt", "nobody has it");
    },
  };
  const task = new TailRecoverer(options, deps as unknown as TailRecovererDeps);
  const passes = async (ms: number): Promise<void> => {
    for (const endMs = clock.monotonicMs() + ms; clock.monotonicMs() < endMs; ) {
      await task.pass(() => false);
      await clock.advance(options.watchEveryMs);
    }
  };
  return { cluster, recovered, reads: () => reads, passes };
}

test("tails: a log that its writer left is recovered after a while, by the first peer", async () => {
  const { recovered, passes } = bench("a");
  await passes(59_000);
  assert.deepEqual(recovered, []);
  await passes(6000);
  assert.ok(recovered.length > 0);
  const other = bench("b");
  await other.passes(66_000);
  assert.deepEqual(other.recovered, [], "it is given time");
  await other.passes(12_000);
  assert.ok(other.recovered.length > 0, "if the first does not");
});

test("tails: at once when a ring waits for it; not while it is attached, or upkeep is paused", async () => {
  const { cluster, recovered, passes } = bench("a");
  cluster.isUnion = true;
  cluster.isAttached = true;
  await passes(120_000);
  cluster.isAttached = false;
  cluster.isPaused = true;
  await passes(12_000);
  assert.deepEqual(recovered, []);
  cluster.isPaused = false;
  await passes(6000);
  assert.ok(recovered.length > 0);
});

test("tails: one that cannot be recovered is tried less and less often, since each try takes an epoch", async () => {
  const { cluster, recovered, passes } = bench("a");
  cluster.isLost = true;
  await passes(60_000 + 600_000);
  assert.ok(recovered.length >= 8 && recovered.length <= 20, `${recovered.length} times in ten minutes`);
  cluster.isUnion = true;
  await passes(120_000);
  assert.ok(recovered.length >= 20, "more often when a ring waits for it");
});

test("tails: peers that are not among the first look at nothing", async () => {
  const { recovered, reads, passes } = bench("d");
  await passes(120_000);
  assert.deepEqual([recovered, reads()], [[], 0]);
});
