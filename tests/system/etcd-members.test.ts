// etcd members that die, freeze, restart, compact and lose their data, under clients that count and watch.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { MetadataService, WatchEvent } from "#metadata";
import { isTorusError } from "#model";
import { Etcd } from "./etcd.ts";
import { waitFor } from "./programs.ts";

const put = (key: string, value: string) => ({ kind: "put", key, value }) as const;

/** Adds 1 to key `n` by compare-and-set, again and again; an unknown outcome is read back through a key of its own. */
class Counter {
  readonly #service: MetadataService;
  readonly #name: string;
  added = 0;
  /** The longest that one addition took. */
  slowestMs = 0;

  constructor(service: MetadataService, name: string) {
    this.#service = service;
    this.#name = name;
  }

  async run(until: () => boolean): Promise<void> {
    while (!until()) {
      const startMs = performance.now();
      await this.#add();
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
      await sleep(5);
    }
  }

  async #add(): Promise<void> {
    const mark = `${this.#name}-${this.added + 1}`;
    for (;;) {
      try {
        const { ranges } = await this.#service.read([{ key: "n" }, { key: this.#name }]);
        if (ranges[1].at(0)?.value === mark) break;
        const entry = ranges[0].at(0);
        const guards = [{ key: "n", revision: entry?.modRevision ?? 0 }];
        const next = `${Number(entry?.value ?? 0) + 1}`;
        const { committed } = await this.#service.transact(guards, [put("n", next), put(this.#name, mark)]);
        if (committed) break;
      } catch (error) {
        if (!isTorusError(error, "timeout", "unavailable")) throw error;
      }
    }
    this.added += 1;
  }
}

/** Follows `n`: every value once, in order. */
function follow(
  service: MetadataService,
  fromRevision: number,
): { readonly values: number[]; readonly resets: string[] } {
  const values: number[] = [];
  const resets: string[] = [];
  const toValue = (event: WatchEvent) => (event.kind === "put" ? Number(event.entry.value) : Number.NaN);
  service.watch("n", fromRevision, {
    events: (events) => void values.push(...events.map(toValue)),
    reset: (reason) => void resets.push(reason),
  });
  return { values, resets };
}

async function requireComplete(
  etcd: Etcd,
  counters: readonly Counter[],
  watches: ReturnType<typeof follow>[],
): Promise<void> {
  const total = counters.reduce((sum, { added }) => sum + added, 0);
  const reader = await etcd.connect();
  assert.equal(Number((await reader.read([{ key: "n" }])).ranges[0][0].value), total);
  const all = Array.from({ length: total }, (_, at) => at + 1);
  for (const { values, resets } of watches) {
    await waitFor("the watch to see all", () => values.length >= total, 10_000);
    assert.deepEqual(values, all);
    assert.deepEqual(resets, []);
  }
}

test("the leader is killed, a member freezes, each restarts: no addition lost or doubled, watches see all", async (t) => {
  const etcd = await Etcd.start(t, { members: 3 });
  const clients = await Promise.all([1, 2, 3].map(() => etcd.connect()));
  const watches = clients.map((client) => follow(client, 0));
  const counters = clients.map((client, at) => new Counter(client, `c${at}`));
  let stop = false;
  const running = Promise.all(counters.map((counter) => counter.run(() => stop)));
  const progress = async (): Promise<void> => {
    const goals = counters.map(({ added }) => added + 5);
    await waitFor(
      "every counter to go on",
      () => counters.every(({ added }, at) => added >= goals[at]),
      15_000,
    );
  };

  await progress();
  const leader = await etcd.leader();
  await leader.kill();
  await progress();
  etcd.launch(leader);
  await etcd.ready();

  // Each in turn: so every client has its member frozen once, with connections that stay up and say nothing.
  for (const member of etcd.members) {
    member.signal("SIGSTOP");
    await progress();
    member.signal("SIGCONT");
    await etcd.ready();
  }
  for (const member of etcd.members) {
    await member.kill();
    etcd.launch(member);
    await etcd.ready();
  }
  await progress();
  stop = true;
  await running;
  for (const { slowestMs } of counters) assert.ok(slowestMs < 10_000, `an addition took ${slowestMs} ms`);
  await requireComplete(etcd, counters, watches);
});

test("a watch that was cut off while its history was compacted is reset; one that kept up is not", async (t) => {
  const etcd = await Etcd.start(t);
  const service = await etcd.connect();
  const idle: string[] = [];
  const busy = follow(service, 0);
  service.watch("idle", 0, { events: () => {}, reset: (reason) => void idle.push(reason) });
  for (let count = 1; count <= 20; count++) await service.transact([], [put("n", `${count}`)]);
  await waitFor("the events", () => busy.values.length === 20);
  await etcd.post("kv/compaction", { revision: 15, physical: true });
  const [member] = etcd.members;
  await member.kill();
  etcd.launch(member);
  await etcd.ready();
  await waitFor("the reset", () => idle.length > 0);
  assert.match(idle[0], /compacted/);
  await service.transact([], [put("n", "21")]);
  await waitFor("the last event", () => busy.values.length === 21);
  assert.deepEqual(busy.resets, []);
  assert.equal(idle.length, 1);
});

test("a large transaction and a long history come through a watch whole and in order", async (t) => {
  const etcd = await Etcd.start(t);
  const service = await etcd.connect();
  const text = "x".repeat(1000);
  for (let round = 0; round < 4; round++) {
    await service.transact(
      [],
      Array.from({ length: 1000 }, (_, at) => put(`v/${at}`, `${round} ${text}`)),
    );
  }
  const batches: { revision: number; count: number }[] = [];
  service.watch("v/", 0, {
    events: (events, revision) => {
      const revisions = new Set(events.map((event) => (event.kind === "put" ? event.entry.modRevision : 0)));
      for (const each of revisions) {
        const count = events.filter(
          (event) => event.kind === "put" && event.entry.modRevision === each,
        ).length;
        batches.push({ revision: each, count });
      }
      assert.equal(Math.max(...revisions), revision);
    },
    reset: (reason) => assert.fail(reason),
  });
  await waitFor("the history", () => batches.length >= 4);
  assert.deepEqual(
    batches,
    [1, 2, 3, 4].map((revision) => ({ revision, count: 1000 })),
  );
  assert.equal((await service.read([{ prefix: "v/" }])).ranges[0].length, 1000);
});

test("an etcd that comes back empty is refused, by calls and by watches, and says why", async (t) => {
  const etcd = await Etcd.start(t);
  const service = await etcd.connect();
  const { resets } = follow(service, 0);
  for (let count = 1; count <= 5; count++) await service.transact([], [put("n", `${count}`)]);
  const [member] = etcd.members;
  await member.kill();
  member.empty();
  etcd.launch(member);
  await etcd.ready();
  const wentBack = (error: unknown) => {
    return (
      isTorusError(error, "metadata-behind") && /went back: .*docs\/operate\/metadata\.md/.test(error.message)
    );
  };
  await assert.rejects(service.read([{ key: "n" }]), wentBack);
  await assert.rejects(service.transact([], [put("n", "6")]), wentBack);
  await assert.rejects(service.grantLease(5000), wentBack);
  await waitFor("the reset", () => resets.length > 0);
  assert.match(resets[0], /went back/);
  const fresh = await etcd.connect();
  assert.deepEqual((await fresh.read([{ prefix: "" }])).ranges, [[]], "nothing was written to it");
});

test("a lease outlives the leader, and runs out when nobody renews it", async (t) => {
  const etcd = await Etcd.start(t, { members: 3 });
  const service = await etcd.connect();
  // Longer than the leader is frozen, also on a busy machine: one that wakes up and finds a lease run out may revoke it although another leads.
  const lease = await service.grantLease(9000);
  await service.transact([], [{ kind: "put", key: "alive", value: "1", lease }]);
  const leader = await etcd.leader();
  leader.signal("SIGSTOP");
  for (let count = 0; count < 4; count++) {
    await service.renewLease(lease);
    await sleep(500);
  }
  leader.signal("SIGCONT");
  assert.equal((await service.read([{ key: "alive" }])).ranges[0].length, 1);
  const gone = async () => (await service.read([{ key: "alive" }])).ranges[0].length === 0;
  await waitFor("the key to vanish", gone, 40_000);
  await assert.rejects(service.renewLease(lease), (error) => isTorusError(error, "not-found"));
});
