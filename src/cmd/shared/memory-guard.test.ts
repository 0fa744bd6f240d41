// The guard: it collects garbage near the ceiling and not every time it looks, holds work back nearer still, and lets go below.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "#host";
import { Metrics } from "#host";
import { MemoryGuard } from "./memory-guard.ts";

const memoryBytesMax = 1000;

test("garbage is collected near the ceiling, work held back nearer still, until there is room", () => {
  let nowMs = 0;
  let look: (() => void) | null = null;
  const clock: Clock = {
    monotonicMs: () => nowMs,
    wallMs: () => nowMs,
    setTimer: (_, callback) => {
      look = callback;
      return { cancel: () => (look = null) };
    },
  };
  let residentBytes = 0;
  const told: string[] = [];
  const metrics = new Metrics();
  const guard = new MemoryGuard(
    { memoryBytesMax },
    {
      clock,
      metrics,
      residentBytes: () => residentBytes,
      collectGarbage: () => void told.push("collect"),
      squeeze: (isSqueezed) => void told.push(isSqueezed ? "squeeze" : "release"),
    },
  );
  guard.start();
  const after = (ms: number, bytes: number): string[] => {
    nowMs += ms;
    residentBytes = bytes;
    look?.();
    return told.splice(0);
  };
  assert.deepEqual(after(1, 840), []);
  assert.deepEqual(after(1, 850), ["collect"]);
  assert.deepEqual(after(1, 940), ["squeeze"]);
  assert.deepEqual(after(1000, 900), ["collect"]);
  assert.deepEqual(after(1, 870), ["release"]);
  assert.deepEqual(after(1, 990), ["squeeze"]);
  const counted = Object.fromEntries(metrics.collect().map(({ name, value }) => [name, value]));
  assert.deepEqual(counted, {
    torus_memory_max_bytes: 1000,
    torus_memory_collections_total: 2,
    torus_memory_squeezes_total: 2,
  });
  guard.close();
  assert.equal(look, null);
});
