// [C2] Clients outlive the process that serves them: they may go on only where nothing that was answered to them can be lost.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Boot, CutRecord } from "#metadata";
import { isTorusError, pageBytes } from "#model";
import type { AttachedVolume } from "./catalog.ts";
import type { ClientPlace, TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";

const anywhere: ClientPlace = { here: null, clients: "anywhere" };

async function setUp(
  acknowledge: "replicated" | "writeback" = "replicated",
  peers = 3,
): Promise<TestCluster> {
  const cluster = await TestCluster.open({
    peers,
    replicas: 3,
    blockBytes: 64 * 1024,
    leaseTtlMs: 2000,
    attachTimeoutMs: 1300,
  });
  await cluster.createVolume("v", 4 * 2 ** 20, acknowledge);
  return cluster;
}

const page = (fill: number): Buffer => Buffer.alloc(pageBytes, fill);

/** A writer that answered writes of `pages` pages and flushed none of them, and then was killed. */
async function killedWriter(
  cluster: TestCluster,
  place: ClientPlace = anywhere,
  pages = 20,
): Promise<TestClient> {
  const { volume, client } = await cluster.attach("v", place);
  for (let i = 0; i < pages; i++) await volume.write(i * pageBytes, page(i + 1), false);
  client.kill();
  client.close().catch(() => {});
  return client;
}

function restart(cluster: TestCluster, which = [0, 1, 2]): void {
  for (const index of which) cluster.stores[index].restart({ loseUnsynced: true });
}

async function attach(
  cluster: TestCluster,
  place: ClientPlace = anywhere,
): Promise<{ volume: AttachedVolume; client: TestClient; cut: CutRecord | null }> {
  const attached = await cluster.attach("v", place);
  return { ...attached, cut: await attached.volume.cut() };
}

async function requirePages(volume: AttachedVolume, pages = 20): Promise<void> {
  for (let i = 0; i < pages; i++)
    assert.deepEqual(Buffer.from(await volume.read(i * pageBytes, pageBytes)), page(i + 1), `page ${i}`);
}

const cases: Readonly<Record<string, () => Promise<void>>> = {
  "nobody restarted: clients go on, and all that was answered is there": async () => {
    const cluster = await setUp();
    for (let round = 0; round < 3; round++) await killedWriter(cluster);
    const { volume, client, cut } = await attach(cluster);
    assert.equal(cut, null);
    await requirePages(volume);
    await client.close();
  },

  "one member that did not restart is enough": async () => {
    const cluster = await setUp();
    await killedWriter(cluster);
    restart(cluster, [0, 2]);
    const { volume, client, cut } = await attach(cluster);
    assert.equal(cut, null);
    await requirePages(volume);
    await client.close();
  },

  "all members restarted: clients are cut off, for every attach to come, until the loss is accepted":
    async () => {
      const cluster = await setUp();
      await killedWriter(cluster);
      restart(cluster);
      const first = await attach(cluster);
      assert.deepEqual([first.cut?.epoch, first.cut?.previousHolder], [2, "test"]);
      await first.client.close();
      const second = await attach(cluster, { here: null, clients: "none" });
      assert.deepEqual(second.cut, first.cut);
      const { volumes } = cluster.metadata();
      const state = await volumes.find("v");
      const older = { ...(first.cut as CutRecord), epoch: 1 };
      await assert.rejects(volumes.acceptLoss(state, older), (error) => isTorusError(error, "conflict"));
      await volumes.acceptLoss(state, first.cut as CutRecord);
      await volumes.acceptLoss(state, first.cut as CutRecord);
      assert.equal(await second.volume.cut(), null, "also where it is attached already");
      await second.client.close();
      const third = await attach(cluster);
      assert.equal(third.cut, null);
      await third.client.close();
    },

  "a log that was finished keeps all it answered, whoever restarts then; also with writeback": async () => {
    for (const acknowledge of ["replicated", "writeback"] as const) {
      const cluster = await setUp(acknowledge);
      const { volume, client } = await attach(cluster);
      for (let i = 0; i < 20; i++) await volume.write(i * pageBytes, page(i + 1), false);
      await client.close();
      restart(cluster);
      const again = await attach(cluster);
      assert.equal(again.cut, null);
      await requirePages(again.volume);
      await again.client.close();
    }
  },

  "writeback: only a log that was finished": async () => {
    const cluster = await setUp("writeback");
    await killedWriter(cluster);
    const { client, cut } = await attach(cluster);
    assert.equal(cut?.epoch, 2);
    await client.close();
  },

  "a peer that lost a block and was sent it again does not speak for it": async () => {
    const cluster = await setUp();
    const { volume, client } = await attach(cluster);
    await volume.write(0, page(1), false);
    restart(cluster, [0]);
    await volume.write(pageBytes, page(2), false);
    const [status] = (await cluster.stores[0].list(null, 10)).blocks.filter(({ state }) => state === "open");
    assert.equal(status.cut, false, "as far as the peer knows the block was begun after its restart");
    client.kill();
    client.close().catch(() => {});
    restart(cluster, [1, 2]);
    const again = await attach(cluster);
    assert.equal(again.cut?.epoch, 2);
    await again.client.close();
  },

  "an attach that gave up changes nothing: the log of before still decides": async () => {
    for (const restarts of [false, true]) {
      const cluster = await setUp();
      await killedWriter(cluster);
      for (const { peer } of cluster.stores) cluster.cut.add(peer);
      await assert.rejects(attach(cluster), (error) => isTorusError(error, "incomplete"));
      cluster.cut.clear();
      if (restarts) restart(cluster);
      const { client, cut } = await attach(cluster);
      assert.equal(cut?.epoch ?? null, restarts ? 3 : null);
      await client.close();
    }
  },

  "a member that can vouch is waited for, a while": async () => {
    for (const returns of [true, false]) {
      const cluster = await setUp();
      await killedWriter(cluster);
      restart(cluster, [1, 2]);
      const { peer } = cluster.stores[0];
      cluster.cut.add(peer);
      const attaching = attach(cluster);
      if (returns) setTimeout(() => cluster.cut.delete(peer), 1100);
      const { volume, client, cut } = await attaching;
      assert.equal(cut?.epoch ?? null, returns ? null : 2);
      if (returns) await requirePages(volume);
      cluster.cut.clear();
      await client.close();
    }
  },

  "closing that could not make all durable leaves it to the next attach": async () => {
    const cluster = await setUp("writeback");
    const { volume, client } = await attach(cluster);
    for (const { peer } of cluster.stores) cluster.cut.add(peer);
    await volume.write(0, page(1), false);
    await assert.rejects(client.close());
    cluster.cut.clear();
    const again = await attach(cluster);
    assert.equal(again.cut?.epoch, 2);
    await again.client.close();
  },

  "clients of a machine that was started anew have ended: nothing is left to cut off": async () => {
    const boot = (machine: string, id: string): Boot => ({ machine, id });
    const places: readonly (readonly [string, ClientPlace, Boot | null, boolean])[] = [
      ["the same machine, started anew", { here: boot("m", "1"), clients: "here" }, boot("m", "2"), false],
      ["the same machine, still running", { here: boot("m", "1"), clients: "here" }, boot("m", "1"), true],
      ["another machine", { here: boot("m", "1"), clients: "here" }, boot("n", "2"), true],
      ["a machine that is not known", { here: boot("m", "1"), clients: "here" }, null, true],
      ["before, a machine that is not known", { here: null, clients: "here" }, boot("m", "2"), true],
      ["clients of other machines", { here: boot("m", "1"), clients: "anywhere" }, boot("m", "2"), true],
      ["clients that end with the writer", { here: boot("m", "1"), clients: "none" }, boot("m", "1"), false],
    ];
    for (const [what, place, here, isCut] of places) {
      const cluster = await setUp();
      await killedWriter(cluster, place, 2);
      restart(cluster);
      const { client, cut } = await attach(cluster, { here, clients: "here" });
      assert.equal(cut !== null, isCut, what);
      await client.close();
      assert.equal((await cluster.metadata().volumes.find("v")).clients, null, what);
    }
  },
};

describe("clients that come back", { concurrency: true }, () => {
  for (const [title, run] of Object.entries(cases)) test(title, run);
});
