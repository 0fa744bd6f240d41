// Extents of volumes and snapshots on a cluster in memory: across leaves that have to be loaded, far apart, and of a writer that lost its volume.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, pageBytes, TorusError } from "#model";
import type { BlockDevice, Extent } from "./block-device.ts";
import { TestCluster, volumeOf } from "./cluster.fixture.ts";
import { leafPages } from "./inode-codec.ts";

const leafBytes = leafPages * pageBytes;

/** Of the whole device, asked for as a client does. */
async function extentsOf(device: BlockDevice, countMax = 100): Promise<Extent[]> {
  const { sizeBytes } = device.info;
  const found: { length: number; marked: boolean }[] = [];
  for (let offset = 0; offset < sizeBytes; ) {
    for (const extent of await device.extents(offset, sizeBytes - offset, countMax)) {
      const last = found.at(-1);
      if (last?.marked === extent.marked) last.length += extent.length;
      else found.push({ ...extent });
      offset += extent.length;
    }
  }
  return found;
}

test("extents of a large sparse volume: written, checkpointed, loaded again, and in a snapshot", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  const sizeBytes = 2 ** 40;
  await cluster.createVolume("v", sizeBytes);
  const first = await cluster.attach("v");
  const expected: Extent[] = [];
  let end = 0;
  for (let at = leafBytes * 3; at < sizeBytes; at = at * 3 + 7 * pageBytes) {
    await first.volume.write(at, new Uint8Array(2 * pageBytes).fill(1), false);
    expected.push({ length: at - end, marked: false }, { length: 2 * pageBytes, marked: true });
    end = at + 2 * pageBytes;
  }
  expected.push({ length: sizeBytes - end, marked: false });
  assert.deepEqual(await extentsOf(first.volume), expected);
  await first.volume.close();
  const second = await cluster.attach("v");
  for (const countMax of [1, 2, 100]) assert.deepEqual(await extentsOf(second.volume, countMax), expected);
  await second.client.volumes.takeSnapshot({ volume: "v", name: "s", labels: {}, timeoutMs: 5000 });
  await second.volume.trim(0, sizeBytes, false);
  assert.deepEqual(await extentsOf(second.volume), [{ length: sizeBytes, marked: false }]);
  const snapshot = await second.client.volumes.openSnapshot("v", "s");
  assert.deepEqual(await extentsOf(snapshot), expected);
  await snapshot.close();
  await assert.rejects(snapshot.extents(0, 1, 1), (error) => isTorusError(error, "closed"));
  await first.client.close();
  await second.client.close();
});

test("one answer looks at so many leaves, and the next goes on", async () => {
  const cluster = await TestCluster.open({ peers: 1, replicas: 1, blockBytes: 1024 * 1024 });
  const leaves = 1100;
  await cluster.createVolume("v", leaves * leafBytes);
  const { volume, client } = await cluster.attach("v");
  for (let leaf = 0; leaf < leaves; leaf++)
    await volume.write(leaf * leafBytes, new Uint8Array(pageBytes), false);
  const some = await volume.extents(0, leaves * leafBytes, 10_000);
  const covered = some.reduce((sum, { length }) => sum + length, 0);
  assert.equal(covered, 1024 * leafBytes);
  assert.equal((await extentsOf(volume, 10_000)).length, 2 * leaves);
  await client.close();
});

test("changes are told while checkpoints come and go, and to one snapshot from another", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 32);
  const { volume, client } = await cluster.attach("v");
  const take = (name: string) =>
    client.volumes.takeSnapshot({ volume: "v", name, labels: {}, timeoutMs: 5000 });
  await volume.write(0, new Uint8Array(pageBytes).fill(1), false);
  await take("one");
  const written: number[] = [];
  for (let step = 0; step < 150; step++) {
    const page = (step * 7919) % 2 ** 20;
    await volume.write(page * pageBytes, new Uint8Array(pageBytes).fill(step), false);
    written.push(page);
    if (step % 3 === 0) volumeOf(volume).checkpointSoon();
    const asked = written[(step * 31) % written.length];
    for (const at of [page, asked]) {
      const [extent] = await volume.changedSince("one", at * pageBytes, pageBytes, 1);
      assert.ok(extent.marked, `page ${at} at step ${step}`);
    }
  }
  await take("two");
  const two = await client.volumes.openSnapshot("v", "two");
  const pages = new Set(written);
  for (const device of [two, volume]) {
    let marked = 0;
    for (let offset = 0; offset < 2 ** 32; ) {
      for (const extent of await device.changedSince("one", offset, 2 ** 32 - offset, 1000)) {
        if (extent.marked) marked += extent.length / pageBytes;
        offset += extent.length;
      }
    }
    assert.equal(marked, pages.size, "to the page, once there is nothing new");
  }
  assert.deepEqual(await two.changedSince("two", 0, 2 ** 32, 9), [{ length: 2 ** 32, marked: false }]);
  await client.volumes.openSnapshot("v", "one").then(async (one) => {
    assert.ok(
      (await one.changedSince("two", 0, 2 ** 32, 9)).some(({ marked }) => marked),
      "either way",
    );
  });
  await client.close();
});

test("[C24] who lost the volume says nothing of what has content", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  const { volume, client } = await cluster.attach("v");
  const asked = volume.extents(0, 2 ** 30, 10);
  volumeOf(volume).lose(new TorusError("attachment-lost", "taken"));
  const lost = (error: unknown) => isTorusError(error, "attachment-lost");
  await assert.rejects(asked, lost);
  await assert.rejects(volume.extents(0, 1, 1), lost);
  await client.close();
});
