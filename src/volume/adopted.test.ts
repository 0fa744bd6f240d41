// Volumes of metadata that went back: no epoch is taken twice, and after an adoption a volume is had as of the backup, whole or not at all [C7].

import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "#host/node";
import type { StateBackup } from "#metadata";
import { MetadataObserver, planAdoption } from "#metadata";
import type { PeerId } from "#model";
import { isTorusError, pageBytes, TorusError, testifyWhole } from "#model";
import type { AttachedVolume } from "./catalog.ts";
import { TestCluster } from "./cluster.fixture.ts";

const pages = 40;
const silent = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

const page = (value: number): Uint8Array => new Uint8Array(pageBytes).fill(value);

async function write(volume: AttachedVolume, value: number, from = 0, to = pages): Promise<void> {
  for (let at = from; at < to; at++) await volume.write(at * pageBytes, page(value), false);
  await volume.flush();
}

async function requireValue(volume: AttachedVolume, value: number, from = 0, to = pages): Promise<void> {
  for (let at = from; at < to; at++)
    assert.deepEqual(
      Buffer.from(await volume.read(at * pageBytes, pageBytes)),
      Buffer.from(page(value)),
      `page ${at}`,
    );
}

async function openCluster(): Promise<TestCluster> {
  const cluster = await TestCluster.open({ peers: 4, replicas: 3, blockBytes: 64 * 1024 });
  const { peers } = cluster.metadata();
  for (const [at, { peer }] of cluster.stores.entries())
    await peers.register({ peer, address: `h${at}:1`, sizeBytes: 2 ** 32, labels: {}, protocolVersion: 1 });
  await cluster.createVolume("v", pages * pageBytes);
  return cluster;
}

/** Each peer looks at the metadata once, as its daemon has it do. */
async function look(cluster: TestCluster): Promise<string[]> {
  const { adoption } = cluster.metadata();
  const reasons: string[] = [];
  for (const store of cluster.stores) {
    const deps = { adoption, store, clock: systemClock, log: silent };
    reasons.push(await new MetadataObserver({ pauseMsMax: 1000 }, deps).look());
  }
  return reasons;
}

async function adopt(cluster: TestCluster, without: readonly PeerId[] = []): Promise<void> {
  const metadata = cluster.metadata();
  const asked = cluster.stores.filter(({ peer }) => !without.includes(peer));
  const testimonies = await Promise.all(
    asked.map(async (store) => ({ peer: store.peer, ...(await testifyWhole(store)) })),
  );
  const { view, alarm } = await metadata.adoption.look();
  const plan = planAdoption(await metadata.snapshot(), view, alarm?.reason ?? "", testimonies);
  assert.ok(plan.isNeeded);
  await metadata.adoption.adopt(plan, without);
  await look(cluster);
}

/** Attaches, writes `values` one after another, and lets go: in order, or dead with what was flushed in the log only. */
async function use(cluster: TestCluster, values: readonly number[], dies = false): Promise<void> {
  const { volume, client } = await cluster.attach("v");
  for (const value of values) await write(volume, value);
  if (dies) client.kill();
  await client.close().catch(() => {});
}

const isBehind = (error: unknown): boolean => isTorusError(error, "metadata-behind");

test("peers that look refuse the old metadata; nobody attaches; once adopted the volume is as of the backup", async () => {
  const cluster = await openCluster();
  await use(cluster, [1]);
  await look(cluster);
  const backup = cluster.backUp();
  await use(cluster, [2]);
  await use(cluster, [3]);
  await look(cluster);
  cluster.restore(backup);
  assert.ok((await look(cluster)).every((reason) => /revision/.test(reason)));
  const blocks = await Promise.all(cluster.stores.map((store) => store.list(null, 1000)));
  await assert.rejects(cluster.attach("v"), isBehind);
  assert.equal((await cluster.metadata().volumes.find("v")).writer.epoch, 1, "no epoch was taken");
  await adopt(cluster);
  assert.deepEqual(await Promise.all(cluster.stores.map((store) => store.list(null, 1000))), blocks);
  const { volume, client } = await cluster.attach("v");
  await requireValue(volume, 1);
  await write(volume, 4, 0, 10);
  await client.close();
  assert.equal((await cluster.metadata().volumes.find("v")).writer.epoch, 5);
  const again = await cluster.attach("v");
  await requireValue(again.volume, 4, 0, 10);
  await requireValue(again.volume, 1, 10);
  await again.client.close();
});

test("whoever does not say what it has is waited for by name, whatever ails it", async () => {
  const cluster = await openCluster();
  await use(cluster, [1]);
  await look(cluster);
  const backup = cluster.backUp();
  await use(cluster, [2]);
  await look(cluster);
  cluster.restore(backup);
  await look(cluster);
  await adopt(cluster);
  const [ailing] = cluster.stores;
  const { stat } = ailing;
  ailing.stat = () => Promise.reject(new TorusError("poisoned", "the disk failed"));
  await assert.rejects(cluster.attach("v"), (error) => {
    assert.ok(isTorusError(error, "incomplete"), String(error));
    assert.deepEqual(error.details.waitingFor, [ailing.peer]);
    return true;
  });
  ailing.stat = stat;
  const { volume, client } = await cluster.attach("v");
  await requireValue(volume, 1);
  await client.close();
});

test("also when no peer looks: who attaches meets the newer epoch, says what it means, and stops everybody", async () => {
  const cluster = await openCluster();
  await use(cluster, [1]);
  const backup = cluster.backUp();
  for (let i = 2; i <= 5; i++) await use(cluster, [i]);
  cluster.restore(backup);
  await assert.rejects(cluster.attach("v"), (error) => {
    return (
      isBehind(error) &&
      /epoch 2 in it, and peer .* knows epoch 5 already.*metadata adopt/.test(String(error))
    );
  });
  for (let i = 0; i < 6; i++) await assert.rejects(cluster.attach("v"), isBehind);
  assert.equal(
    (await cluster.metadata().volumes.find("v")).writer.epoch,
    2,
    "epochs are not used up until one fits",
  );
  await adopt(cluster);
  const { volume, client } = await cluster.attach("v");
  assert.equal((await cluster.metadata().volumes.find("v")).writer.epoch, 7);
  await requireValue(volume, 1);
  await client.close();
});

test("an epoch that fits is not taken twice either: its blocks are known", async () => {
  const cluster = await openCluster();
  await use(cluster, [1]);
  const backup = cluster.backUp();
  await use(cluster, [2]);
  cluster.restore(backup);
  await assert.rejects(cluster.attach("v"), (error) => {
    return isBehind(error) && /epoch 2 in it, and peer .* was written in epoch 2 already/.test(String(error));
  });
  await adopt(cluster);
  const { volume, client } = await cluster.attach("v");
  await requireValue(volume, 1);
  await client.close();
});

test("nor is what an attach served that was under way when the backup was made: its peers know that it did", async () => {
  const cluster = await openCluster();
  await use(cluster, [1]);
  const [first] = cluster.stores;
  const { fence } = first;
  let backup: StateBackup | null = null;
  first.fence = (...order) => {
    backup = cluster.backUp();
    return fence.call(first, ...order);
  };
  await use(cluster, [2], true);
  first.fence = fence;
  assert.ok(backup !== null);
  cluster.restore(backup);
  assert.equal((await cluster.metadata().volumes.find("v")).head?.epoch, 1);
  assert.equal((await cluster.metadata().volumes.find("v")).writer.epoch, 2);
  // The metadata has come farther than any peer has seen.
  for (let i = 0; i < 50; i++) await cluster.createVolume(`other-${i}`, pageBytes);
  await assert.rejects(cluster.attach("v"), (error) => {
    return isBehind(error) && /head of epoch 1 in it, and was served in epoch 2/.test(String(error));
  });
  assert.match((await cluster.metadata().adoption.look()).alarm?.reason ?? "", /served in epoch 2/);
  await adopt(cluster);
  const { volume, client } = await cluster.attach("v");
  await requireValue(volume, 1);
  await client.close();
});

test("what was written to the same epoch after the backup is still in the log, also where a peer was struck since", async () => {
  const cluster = await openCluster();
  await use(cluster, [1]);
  const { volume, client } = await cluster.attach("v");
  await write(volume, 2);
  await look(cluster);
  const backup = cluster.backUp();
  await write(volume, 3, 0, 5);
  // Struck from what is open; later blocks lie elsewhere than the backup's logmap says.
  const [away] = cluster.stores;
  cluster.cut.add(away.peer);
  await write(volume, 4, 5, 30);
  await look(cluster);
  client.kill();
  await client.close().catch(() => {});
  cluster.cut.clear();
  cluster.restore(backup);
  assert.ok((await look(cluster)).every((reason) => reason !== ""));
  await adopt(cluster);
  // The one that was struck alone has a short copy: it must not do, nor may it be missing.
  cluster.cut.add(cluster.stores[1].peer);
  await assert.rejects(cluster.attach("v"), (error) => {
    return isTorusError(error, "incomplete") && error.message.includes(cluster.stores[1].peer);
  });
  cluster.cut.clear();
  const after = await cluster.attach("v");
  await requireValue(after.volume, 3, 0, 5);
  await requireValue(after.volume, 4, 5, 30);
  await requireValue(after.volume, 2, 30);
  await after.client.close();
});

/** A cluster whose volume was written over after the backup, with all that the newer state does not need collected. */
async function openCollected(): Promise<{ cluster: TestCluster; backup: StateBackup }> {
  const cluster = await openCluster();
  await use(cluster, [1]);
  await look(cluster);
  const backup = cluster.backUp();
  await use(cluster, [2]);
  await look(cluster);
  return { cluster, backup };
}

for (const [what, isDead] of [
  ["data", (type: number, epoch: number) => epoch === 1 && type === 0],
  ["INode", (type: number, epoch: number) => epoch === 1 && type === 1],
] as const) {
  test(`where the ${what} blocks of the backup were collected since, the volume is refused and says why`, async () => {
    const { cluster, backup } = await openCollected();
    for (const store of cluster.stores) {
      const { blocks } = await store.list(null, 1000);
      for (const { ref } of blocks) if (isDead(ref.type, ref.epoch)) await store.remove(ref);
    }
    cluster.restore(backup);
    await look(cluster);
    await adopt(cluster);
    await assert.rejects(cluster.attach("v"), (error) => {
      return (
        isTorusError(error, "corrupt") &&
        /"v" cannot be had as of the backup: no peer has/.test(error.message)
      );
    });
  });
}

test("blocks that lie at a peer in no ring of the backup: it says which to add", async () => {
  const { cluster, backup } = await openCollected();
  const spare = "00000000-0000-4000-8000-000000000009";
  const moved = cluster.addStore(spare);
  for (const store of cluster.stores.slice(0, 4)) {
    const { blocks } = await store.list(null, 1000);
    for (const { ref, held, checksum } of blocks) {
      if (ref.epoch !== 1 || ref.type !== 0) continue;
      await moved.put(ref, await store.read(ref, 0, held), checksum, "repair");
      await store.remove(ref);
    }
  }
  cluster.restore(backup);
  await cluster
    .metadata()
    .peers.register({ peer: spare, address: "h9:1", sizeBytes: 2 ** 32, labels: {}, protocolVersion: 1 });
  await look(cluster);
  await adopt(cluster);
  await assert.rejects(cluster.attach("v"), (error) => {
    return isTorusError(error, "incomplete") && error.message.includes(`torusctl peer add ${spare}`);
  });
});

test("a peer that is lost for good is named at the adoption, and not waited for", async () => {
  const { cluster, backup } = await openCollected();
  const lost = cluster.stores[3].peer;
  cluster.cut.add(lost);
  cluster.restore(backup);
  await look(cluster);
  await adopt(cluster, [lost]);
  const { volume, client } = await cluster.attach("v");
  await requireValue(volume, 1);
  await client.close();
});
