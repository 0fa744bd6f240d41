// Clones of volumes on a cluster in memory: they begin as the snapshot, are written apart from it, in chains, and can be made to stand
// on their own.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlockRef } from "#model";
import { isTorusError, pageBytes } from "#model";
import type { BlockDevice } from "./block-device.ts";
import { TestCluster } from "./cluster.fixture.ts";

const sizeBytes = 64 * 2 ** 20;
const same = { sizeBytes: null, acknowledge: null, minReplicas: null };

function page(seed: number): Buffer {
  return Buffer.alloc(pageBytes, `${seed} `);
}

async function put(device: BlockDevice, at: number, seed: number): Promise<void> {
  await device.write(at * pageBytes, page(seed), false);
}

async function expect(device: BlockDevice, pages: Readonly<Record<number, number>>): Promise<void> {
  for (const [at, seed] of Object.entries(pages)) {
    const bytes = Buffer.from(await device.read(Number(at) * pageBytes, pageBytes));
    const wanted = seed === 0 ? Buffer.alloc(pageBytes) : page(seed);
    assert.ok(bytes.equals(wanted), `page ${at} is not ${seed}: ${bytes.toString("latin1", 0, 8)}`);
  }
}

/** A cluster with volume `base`, pages 0 to 299 written, and its snapshot `s`. */
async function openBase() {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("base", sizeBytes);
  const { volume, client } = await cluster.attach("base");
  for (let i = 0; i < 300; i++) await put(volume, i, 1 + i);
  await put(volume, 9000, 7);
  await client.close();
  const operator = await cluster.client();
  await operator.volumes.takeSnapshot({ volume: "base", name: "s", labels: {}, timeoutMs: 5000 });
  const clone = (volumeName: string, name: string, snapshot = "s") =>
    cluster.metadata().clones.create({ volume: volumeName, snapshot, name, ...same });
  return { cluster, operator, clone };
}

test("a clone begins as the snapshot, copies nothing, and neither sees what the other writes", async () => {
  const { cluster, operator, clone } = await openBase();
  const before = cluster.appendedBytes;
  await clone("base", "copy");
  assert.equal(cluster.appendedBytes, before);
  const base = await cluster.attach("base");
  for (let round = 0; round < 3; round++) {
    const { volume, client } = await cluster.attach("copy");
    await expect(volume, { 0: round === 0 ? 1 : 1000 + round - 1, 299: 300, 300: 0, 9000: 7 });
    await put(volume, 0, 1000 + round);
    await volume.flush();
    await put(base.volume, 1, 2000 + round);
    await base.volume.flush();
    if (round === 1) await client.close();
    else client.kill();
    client.close().catch(() => {});
  }
  await expect(base.volume, { 0: 1, 1: 2002, 299: 300 });
  await expect(await operator.volumes.openSnapshot("base", "s"), { 0: 1, 1: 2, 299: 300 });
  await base.client.close();
  await operator.close();
});

test("a larger clone has room behind the snapshot's end", async () => {
  const { cluster, operator } = await openBase();
  await cluster
    .metadata()
    .clones.create({ ...same, volume: "base", snapshot: "s", name: "large", sizeBytes: 2 * sizeBytes });
  const { volume, client } = await cluster.attach("large");
  const last = (2 * sizeBytes) / pageBytes - 1;
  await expect(volume, { 0: 1, [last]: 0 });
  await put(volume, last, 5);
  await expect(volume, { 0: 1, [last]: 5 });
  await client.close();
  await operator.close();
});

test("flatten gives a clone all of its blocks: its base can go, and the content stays", async () => {
  const { cluster, operator, clone } = await openBase();
  await clone("base", "copy");
  const { volume, client } = await cluster.attach("copy");
  for (let i = 0; i < 50; i++) await put(volume, i, 500 + i);
  await volume.trim(60 * pageBytes, 10 * pageBytes, false);
  await client.close();
  const metadata = cluster.metadata();
  const byForce = { force: true, fence: async () => {} };
  await assert.rejects(metadata.volumes.delete("base", byForce), /clones need blocks .*\(copy\)/);
  const attached = await operator.volumes.attachNow("copy", { force: false });
  const seen: number[] = [];
  const { movedBytes, heldBy } = await attached.orders.flatten(({ doneBytes, totalBytes }) => {
    assert.equal(totalBytes, (300 - 50 - 10 + 1) * pageBytes);
    seen.push(doneBytes);
  });
  assert.equal(movedBytes, (300 - 50 - 10 + 1) * pageBytes);
  assert.deepEqual([seen[0], seen.at(-1)], [0, movedBytes]);
  assert.deepEqual(heldBy, []);
  await put(attached, 2, 9);
  await attached.close();
  assert.equal((await metadata.volumes.find("copy")).origin, null);
  await metadata.volumes.delete("base", byForce);
  forget(cluster, (ref) => ref.volume === 1);
  const again = await cluster.attach("copy");
  await expect(again.volume, { 0: 500, 2: 9, 49: 549, 50: 51, 60: 0, 70: 71, 299: 300, 9000: 7 });
  await again.client.close();
  await operator.close();
});

/** Reads of such blocks find nothing from now on, as when they were collected. */
function forget(cluster: TestCluster, isGone: (ref: BlockRef) => boolean): void {
  for (const store of cluster.stores) {
    const read = store.read.bind(store);
    store.read = async (ref, offset, length) => {
      assert.ok(!isGone(ref), `block ${JSON.stringify(ref)} of a deleted volume is read`);
      return read(ref, offset, length);
    };
  }
}

test("flatten: a clone's snapshots from before hold on to the base, and say so; clones of it keep their own list", async () => {
  const { cluster, operator, clone } = await openBase();
  const metadata = cluster.metadata();
  await clone("base", "copy");
  await operator.volumes.takeSnapshot({ volume: "copy", name: "old", labels: {}, timeoutMs: 5000 });
  await clone("copy", "third", "old");
  const flatten = async () => {
    const attached = await operator.volumes.attachNow("copy", { force: false });
    const flattened = await attached.orders.flatten(() => {});
    await attached.close();
    return flattened;
  };
  assert.deepEqual((await flatten()).heldBy, ["old"]);
  assert.deepEqual((await metadata.volumes.find("copy")).origin?.bases, [1]);
  await operator.volumes.takeSnapshot({ volume: "copy", name: "new", labels: {}, timeoutMs: 5000 });
  await metadata.snapshots.delete("copy", "old");
  const second = await flatten();
  assert.deepEqual([second.movedBytes, second.heldBy], [0, []]);
  assert.equal((await metadata.volumes.find("copy")).origin, null);
  assert.deepEqual((await metadata.volumes.find("third")).origin?.bases, [2, 1]);
  const { volume, client } = await cluster.attach("third");
  await expect(volume, { 0: 1, 299: 300 });
  await client.close();
  await operator.close();
});

test("flatten stopped half way goes on where it was", async () => {
  const { cluster, clone } = await openBase();
  await clone("base", "copy");
  const first = await cluster.client();
  const attached = await first.volumes.attachNow("copy", { force: false });
  let told = 0;
  const stopped = attached.orders.flatten(() => {
    told += 1;
    if (told === 2) first.kill();
  });
  stopped.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 100));
  const second = await cluster.client();
  const again = await second.volumes.attachNow("copy", { force: true });
  await again.orders.flatten(() => {});
  await again.close();
  const state = await cluster.metadata().volumes.find("copy");
  assert.equal(state.origin, null);
  const { volume, client } = await cluster.attach("copy");
  await expect(volume, { 0: 1, 299: 300, 9000: 7 });
  await client.close();
  await second.close();
  await first.close().catch(() => {});
});

test("[C16] flattening that finds no space for its INode says so, and goes on when it is asked again", async () => {
  const { cluster, clone } = await openBase();
  await clone("base", "copy");
  const operator = await cluster.client();
  const attached = await operator.volumes.attachNow("copy", { force: false });
  cluster.isFullForInodes = true;
  await assert.rejects(
    attached.orders.flatten(() => {}),
    (error) => isTorusError(error, "full"),
  );
  cluster.isFullForInodes = false;
  await attached.orders.flatten(() => {});
  await attached.close();
  assert.equal((await cluster.metadata().volumes.find("copy")).origin, null);
  await operator.close();
});

test("a snapshot that is deleted under a reader is lost: its reads say so", async () => {
  const { cluster, operator } = await openBase();
  const opened = await operator.volumes.openSnapshot("base", "s");
  await expect(opened, { 0: 1 });
  await cluster.metadata().snapshots.delete("base", "s");
  assert.match((await opened.lost).message, /snapshot base@s was deleted/);
  await assert.rejects(opened.read(0, 512), (error) => isTorusError(error, "not-found"));
  await operator.close();
});
