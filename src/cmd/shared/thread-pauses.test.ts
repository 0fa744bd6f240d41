// A thread that stands still, and one that collects garbage, are noticed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics, sleep } from "#host";
import { collectGarbage, systemClock } from "#host/node";
import { ThreadPauses } from "./thread-pauses.ts";

const stillMs = 90;

test("a thread that stands still for longer than clients should wait is counted, and its collections of garbage", async () => {
  const metrics = new Metrics();
  const pauses = new ThreadPauses({ afterMs: 0 }, { clock: systemClock, metrics });
  const read = (name: string): number => metrics.collect().find((sample) => sample.name === name)?.value ?? 0;
  pauses.start();
  while (read("torus_thread_pauses_over_50ms_total") === 0 || read("torus_thread_collections_total") === 0) {
    const untilMs = systemClock.monotonicMs() + stillMs;
    while (systemClock.monotonicMs() < untilMs);
    collectGarbage();
    await sleep(systemClock, 100);
  }
  pauses.close();
  assert.ok(read("torus_thread_pauses_over_25ms_total") >= 1);
  assert.ok(read("torus_thread_longest_pause_seconds") >= 0.05);
  assert.ok(read("torus_thread_collection_seconds_total") > 0);
  assert.ok(read("torus_thread_longest_collection_seconds") > 0);
});
