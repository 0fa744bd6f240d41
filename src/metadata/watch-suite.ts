// The part of service-suite.ts about watches: order, no gap, no duplicate, reset.

import assert from "node:assert/strict";
import type { MetadataService, WatchEvent } from "./service.ts";
import { type Checks, lag, put, putAll, remove } from "./service-suite.ts";

export interface Recorded {
  readonly events: string[];
  readonly revisions: number[];
  readonly resets: string[];
}

/** Notes what a watch hears. */
export function record(
  service: MetadataService,
  prefix: string,
  fromRevision: number,
): Recorded & { close(): void } {
  const recorded: Recorded = { events: [], revisions: [], resets: [] };
  const show = (event: WatchEvent) =>
    event.kind === "put"
      ? `${event.entry.modRevision} ${event.entry.key}=${event.entry.value}`
      : `${event.modRevision} ${event.key} gone`;
  const watch = service.watch(prefix, fromRevision, {
    events: (events, revision) => {
      recorded.events.push(...events.map(show));
      recorded.revisions.push(revision);
      assert.match(recorded.events.at(-1) ?? "", new RegExp(`^${revision} `));
    },
    reset: (reason) => void recorded.resets.push(reason),
  });
  return { ...recorded, close: () => watch.close() };
}

export const watchChecks: Checks = {
  "a watch hears every change of its prefix once, in order, from its revision on": async (
    harness,
    service,
  ) => {
    const other = await harness.connect();
    await putAll(service, put("v/a", "1"));
    await putAll(service, put("v/b", "2"), put("w", "2"));
    const seen = record(service, "v/", 1);
    assert.deepEqual(seen.events, [], "never from inside watch()");
    await harness.advance(200);
    await putAll(other, put("v/a", "3"), remove("v/b"));
    await putAll(service, put("x", "4"));
    await putAll(service, put("v/c", "5"));
    await harness.advance(200);
    assert.deepEqual(seen.events, ["2 v/b=2", "3 v/a=3", "3 v/b gone", "5 v/c=5"]);
    assert.deepEqual(seen.resets, []);
  },

  "many changes by several clients: no gap, no duplicate": async (harness, service) => {
    const other = await harness.connect();
    const seen = record(service, "k", 0);
    const late = record(other, "k", 100);
    for (let count = 1; count <= 700; count++) {
      await putAll(count % 3 === 0 ? other : service, put("k", `${count}`));
      if (count % 97 === 0) await harness.advance(60);
    }
    await harness.advance(500);
    const all = Array.from({ length: 700 }, (_, index) => `${index + 1} k=${index + 1}`);
    assert.deepEqual(seen.events, all);
    assert.deepEqual(late.resets.length, 1, "it asked for a revision that was not there yet");
  },

  "a lease that runs out is seen as deletions": async (harness, service) => {
    const lease = await service.grantLease(1000);
    await putAll(service, put("v/a", "1", lease), put("v/b", "1", lease));
    const seen = record(await harness.connect(), "v/", 1);
    await harness.advance(1500 + lag(harness));
    assert.deepEqual(seen.events, ["2 v/a gone", "2 v/b gone"]);
  },

  "a closed watch hears nothing more": async (harness, service) => {
    const seen = record(service, "", 0);
    await putAll(service, put("a", "1"));
    await harness.advance(200);
    assert.deepEqual(seen.events, ["1 a=1"]);
    await putAll(service, put("a", "2"));
    const heard = seen.events.length;
    seen.close();
    await harness.advance(200);
    assert.equal(seen.events.length, heard);
  },

  "a watch behind the history is reset once and hears nothing more": async (harness, service) => {
    const live = record(service, "a", 0);
    for (let count = 0; count < 2 * harness.historyRevisionsMax + 100; count++) {
      await putAll(service, put("a", `${count}`));
      if (count % 32 === 0) await harness.advance(60);
    }
    const behind = record(service, "a", 1);
    await harness.advance(200);
    await putAll(service, put("a", "last"));
    await harness.advance(200);
    assert.equal(behind.resets.length, 1);
    assert.deepEqual(behind.events, []);
    assert.equal(live.resets.length, 0, "one that kept up is not");
    assert.match(live.events.at(-1) ?? "", / a=last$/);
    const { revision } = await service.read([]);
    const again = record(service, "a", revision);
    await putAll(service, put("a", "more"));
    await harness.advance(200);
    assert.deepEqual(again.events, [`${revision + 1} a=more`]);
  },
};
