// Differences of whole volumes: whatever happened between two snapshots (writes, trims, cleaning, a killed writer and its recovery, a restore), a
// page that reads differently is in the difference of their maps. What is there and reads the same was written or moved.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { pageBytes } from "#model";
import type { AttachedVolume } from "./catalog.ts";
import { cleanerDefaults } from "./cleaner.ts";
import type { TestClient } from "./cluster.fixture.ts";
import { TestCluster, volumeOf } from "./cluster.fixture.ts";

const pages = 64;
const eager = {
  ...cleanerDefaults,
  garbageMin: 0.2,
  garbageMax: 0.4,
  roomyGarbageMin: 0.2,
  roomyGarbageMax: 0.4,
  gainBlocksMin: 2,
  lookEveryMs: 2,
  stepPages: 32,
};

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("write" as const), page: fc.nat(pages - 1), count: fc.nat(20) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("trim" as const), page: fc.nat(pages - 1), count: fc.nat(9) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("snapshot" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("checkpoint" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("pause" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("kill" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restore" as const), which: fc.nat(9) }) },
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

/** Lets the cleaner look so many times. */
async function looks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, eager.lookEveryMs));
}

/** A volume "v" with snapshots s1, s2, … */
class History {
  readonly #cluster: TestCluster;
  #client: TestClient;
  #volume: AttachedVolume;
  #writes = 0;
  snapshots = 0;
  private constructor(cluster: TestCluster, attached: { client: TestClient; volume: AttachedVolume }) {
    this.#cluster = cluster;
    this.#client = attached.client;
    this.#volume = attached.volume;
  }

  static async start(): Promise<History> {
    const options = { peers: 3, replicas: 3, blockBytes: 64 * 1024, leaseTtlMs: 60_000, cleaner: eager };
    const cluster = await TestCluster.open(options);
    await cluster.createVolume("v", pages * pageBytes);
    return new History(cluster, await cluster.attach("v"));
  }

  get client(): TestClient {
    return this.#client;
  }

  /** Of one writer, as far as it is: the cleaner works when its thread has time for it. */
  get movedNow(): number {
    return this.#client.metrics.counter("torus_volume_moved_bytes_total", "").value;
  }

  async apply(one: Step): Promise<void> {
    if (one.kind === "write" || one.kind === "trim") {
      const length = Math.min(one.count + 1, pages - one.page) * pageBytes;
      this.#writes += 1;
      const bytes = Buffer.alloc(length, `${this.#writes}.`);
      if (one.kind === "write") await this.#volume.write(one.page * pageBytes, bytes, false);
      else await this.#volume.trim(one.page * pageBytes, length, false);
    } else if (one.kind === "snapshot") await this.snapshot();
    else if (one.kind === "checkpoint") volumeOf(this.#volume).checkpointSoon();
    else if (one.kind === "pause") await looks(20);
    else if (one.kind === "kill") await this.#again(() => this.#client.kill());
    else if (this.snapshots > 0) {
      await this.#volume.close();
      const snapshot = `s${(one.which % this.snapshots) + 1}`;
      await this.#client.volumes.restoreSnapshot({ volume: "v", snapshot, force: false });
      await this.#again(() => {});
    }
  }

  async snapshot(): Promise<void> {
    this.snapshots += 1;
    const order = { volume: "v", name: `s${this.snapshots}`, labels: {}, timeoutMs: 10_000 };
    await this.#client.volumes.takeSnapshot(order);
  }

  async #again(end: () => void): Promise<void> {
    end();
    await this.#client.close().catch(() => {});
    const { client, volume } = await this.#cluster.attach("v");
    this.#client = client;
    this.#volume = volume;
  }
}

async function contentOf(client: TestClient, volume: string, snapshot: string) {
  const opened = await client.volumes.openSnapshot(volume, snapshot);
  return { opened, bytes: Buffer.from(await opened.read(0, pages * pageBytes)) };
}

type Opened = Awaited<ReturnType<typeof contentOf>>;

async function requireDifference(from: Opened | null, to: Opened): Promise<void> {
  const root = from?.opened.found.snapshot.root ?? null;
  const { ranges } = await to.opened.differenceFrom(root).after(0);
  const told = new Set<number>();
  for (const { first, count } of ranges) for (let i = 0; i < count; i++) told.add(first + i);
  const before = from?.bytes ?? Buffer.alloc(to.bytes.length);
  for (let page = 0; page < pages; page++) {
    const [start, end] = [page * pageBytes, (page + 1) * pageBytes];
    if (before.compare(to.bytes, start, end, start, end) !== 0)
      assert.ok(told.has(page), `page ${page} reads differently and is not in the difference`);
  }
}

async function requireAllDifferences({ client, snapshots }: History): Promise<void> {
  const opened: Opened[] = [];
  for (let i = 1; i <= snapshots; i++) opened.push(await contentOf(client, "v", `s${i}`));
  for (const to of opened) for (const from of [null, ...opened]) await requireDifference(from, to);
  await client.close();
}

it("a difference of maps: has every page that two snapshots of a volume read differently, whatever was between them", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const history = await History.start();
      for (const one of steps) await history.apply(one);
      await history.snapshot();
      await requireAllDifferences(history);
    }),
    { numRuns: 10, seed: 4 },
  );
});

it("a difference of maps: has every page that reads differently also where the cleaner moved pages in between", async () => {
  const history = await History.start();
  await history.apply({ kind: "write", page: 0, count: 20 });
  await history.snapshot();
  for (let round = 0; history.movedNow === 0; round++) {
    assert.ok(round < 5_000, "the cleaner moves pages of a volume that is written over and over");
    await history.apply({ kind: "write", page: 20 + (round % 40), count: 3 });
    if (round % 16 === 0) await history.apply({ kind: "checkpoint" });
    await looks(1);
  }
  await history.snapshot();
  await requireAllDifferences(history);
});
