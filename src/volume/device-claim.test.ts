// [C2] A kernel's device outlives the process that serves it. It goes on with the next attachment only where nothing that it was answered can
// be lost and nobody else had the volume in between: what the kernel has of it in memory must be of the volume as it is.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { pageBytes } from "#model";
import type { AttachedVolume } from "./catalog.ts";
import type { ClientPlace, TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";

const here: ClientPlace = { here: { machine: "m", id: "1" }, clients: "here" };

async function setUp(acknowledge: "replicated" | "writeback" = "replicated"): Promise<TestCluster> {
  const options = { peers: 3, replicas: 3, blockBytes: 64 * 1024, leaseTtlMs: 2000, attachTimeoutMs: 1300 };
  const cluster = await TestCluster.open(options);
  await cluster.createVolume("v", 4 * 2 ** 20, acknowledge);
  return cluster;
}

interface Attached {
  readonly volume: AttachedVolume;
  readonly client: TestClient;
}

async function attach(cluster: TestCluster, resume: string[], fresh: string): Promise<Attached> {
  const client = await cluster.client(here);
  const volume = await client.volumes.attach("v", { force: true, device: { resume, fresh } });
  return { client, volume };
}

/** Answers writes, and is killed or ends in order. */
async function serve({ volume, client }: Attached, ends: "killed" | "closed"): Promise<void> {
  for (let i = 0; i < 20; i++) await volume.write(i * pageBytes, Buffer.alloc(pageBytes, i + 1), false);
  if (ends === "closed") return client.close();
  client.kill();
  client.close().catch(() => {});
}

function restart(cluster: TestCluster): void {
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
}

/** What the device of `first` becomes at the next attach, after `between`. */
async function nextDevice(
  acknowledge: "replicated" | "writeback",
  ends: "killed" | "closed",
  between: (cluster: TestCluster) => Promise<void> | void = () => {},
): Promise<string | null | undefined> {
  const cluster = await setUp(acknowledge);
  await serve(await attach(cluster, [], "first"), ends);
  await between(cluster);
  const { volume, client } = await attach(cluster, ["other", "first"], "second");
  await client.close();
  return volume.device;
}

const cases: Readonly<Record<string, () => Promise<void>>> = {
  "it goes on, as often as its process is killed, or ends": async () => {
    const cluster = await setUp();
    const first = await attach(cluster, [], "first");
    assert.equal(first.volume.device, "first");
    await serve(first, "killed");
    for (const ends of ["killed", "closed", "killed", "closed"] as const) {
      const next = await attach(cluster, ["first"], "second");
      assert.equal(next.volume.device, "first", ends);
      assert.equal(next.volume.info.sizeBytes, 4 * 2 ** 20);
      await serve(next, ends);
    }
  },

  "not when something it was answered may be lost; no NBD client is cut off for that": async () => {
    const cluster = await setUp();
    await serve(await attach(cluster, [], "first"), "killed");
    restart(cluster);
    const next = await attach(cluster, ["first"], "second");
    assert.equal(next.volume.device, "second");
    assert.equal(await next.volume.cut(), null);
    await next.client.close();
    const later = await attach(cluster, ["first"], "third");
    assert.equal(later.volume.device, "third", "nor later");
    await later.client.close();
  },

  "after a log that was finished, whoever restarts then; with writeback only then": async () => {
    assert.equal(await nextDevice("replicated", "closed", restart), "first");
    assert.equal(await nextDevice("writeback", "closed", restart), "first");
    assert.equal(await nextDevice("writeback", "killed"), "second");
  },

  "not when somebody else had the volume in between, whoever that was": async () => {
    for (const clients of ["none", "here", "anywhere"] as const)
      for (const ends of ["killed", "closed"] as const) {
        const other = async (cluster: TestCluster) =>
          (await cluster.attach("v", { here: here.here, clients })).client.close();
        assert.equal(await nextDevice("replicated", ends, other), "second", `${clients} ${ends}`);
      }
  },

  "not when another device of the volume was served in between": async () => {
    const other = async (cluster: TestCluster) => serve(await attach(cluster, [], "third"), "closed");
    assert.equal(await nextDevice("replicated", "closed", other), "second");
  },

  "not when the volume was put back to a snapshot": async () => {
    const restore = async (cluster: TestCluster) => {
      const { volumes, close } = await cluster.client();
      await volumes.takeSnapshot({ volume: "v", name: "s", labels: {}, timeoutMs: 5000 });
      await volumes.restoreSnapshot({ volume: "v", snapshot: "s", force: false });
      await close();
    };
    assert.equal(await nextDevice("replicated", "closed", restore), "second");
  },

  "also over an attach that gave up, and over one that only brings the log's end into a checkpoint":
    async () => {
      const gaveUp = async (cluster: TestCluster) => {
        for (const { peer } of cluster.stores) cluster.cut.add(peer);
        await assert.rejects(attach(cluster, [], "third"));
        cluster.cut.clear();
      };
      assert.equal(await nextDevice("replicated", "killed", gaveUp), "first");
      for (const loses of [false, true]) {
        const recovered = async (cluster: TestCluster) => {
          if (loses) restart(cluster);
          const client = await cluster.client();
          const done = async () => client.volumes.recoverTail("v");
          while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 50));
          await client.close();
        };
        assert.equal(await nextDevice("replicated", "killed", recovered), loses ? "second" : "first");
      }
    },

  "one of a snapshot goes on with that snapshot, and not with another of its name": async () => {
    const cluster = await setUp();
    const { volumes, close } = await cluster.client();
    const wish = { volume: "v", name: "s", labels: {}, timeoutMs: 5000 };
    await volumes.takeSnapshot(wish);
    const device = async () => {
      const snapshot = await volumes.openSnapshot("v", "s");
      await snapshot.close();
      return snapshot.device;
    };
    const first = await device();
    assert.equal(await device(), first);
    const { snapshots } = cluster.metadata();
    await snapshots.delete("v", "s");
    await volumes.takeSnapshot(wish);
    assert.notEqual(await device(), first);
    await close();
  },
};

describe("a device that waits", { concurrency: true }, () => {
  for (const [title, run] of Object.entries(cases)) test(title, run);
});
