// Snapshots of volumes on a cluster in memory: taken from a live writer, from a dead one and from none; read beside the writer;
// restored.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, pageBytes } from "#model";
import type { BlockDevice } from "./block-device.ts";
import type { TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";

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

async function openCluster(options: { leaseTtlMs?: number; sizeBytes?: number; storeBytes?: number } = {}) {
  const { sizeBytes = 2 ** 30, ...rest } = options;
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024, ...rest });
  await cluster.createVolume("v", sizeBytes);
  const operator = await cluster.client();
  return { cluster, operator };
}

function take(operator: TestClient, name: string, timeoutMs = 5000) {
  return operator.volumes.takeSnapshot({ volume: "v", name, labels: { by: "test" }, timeoutMs });
}

test("[C23] a snapshot of an attached volume has all that was answered before, flushed or not, and never changes", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await cluster.attach("v");
  for (let i = 0; i < 60; i++) await put(volume, i, 1 + i);
  const snapshot = await take(operator, "s1");
  assert.equal(snapshot.usedBytes, 60 * pageBytes);
  assert.deepEqual(snapshot.labels, { by: "test" });
  for (let i = 30; i < 90; i++) await put(volume, i, 1000 + i);
  await volume.trim(0, 10 * pageBytes, false);
  const kept = await operator.volumes.openSnapshot("v", "s1");
  assert.ok(kept.info.readOnly);
  await expect(kept, { 0: 1, 29: 30, 30: 31, 59: 60, 60: 0, 89: 0, 5000: 0 });
  await expect(volume, { 0: 0, 29: 30, 30: 1030, 89: 1089 });
  await take(operator, "s2");
  const other = await operator.volumes.attach("v@s2", { force: false });
  await expect(other, { 0: 0, 30: 1030, 89: 1089 });
  await assert.rejects(kept.write(), (error) => isTorusError(error, "invalid-argument"));
  await assert.rejects(take(operator, "s2"), (error) => isTorusError(error, "already-exists"));
  const { requests } = await cluster.metadata().requests.requests(snapshot.root.ref.volume);
  assert.deepEqual(requests, []);
  await kept.close();
  await assert.rejects(kept.read(0, 1), (error) => isTorusError(error, "closed"));
  await operator.close();
  await client.close();
});

test("[C16] a snapshot that finds no space for its INode is refused, not waited for, and holds up nothing", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await cluster.attach("v");
  await put(volume, 1, 1);
  await volume.flush();
  cluster.isFullForInodes = true;
  await assert.rejects(take(operator, "s1"), (error) => isTorusError(error, "full"));
  await put(volume, 1, 2);
  await volume.flush();
  await assert.rejects(take(operator, "s2"), (error) => isTorusError(error, "full"));
  cluster.isFullForInodes = false;
  await take(operator, "s3");
  const kept = await operator.volumes.openSnapshot("v", "s3");
  await expect(kept, { 1: 2 });
  const { snapshots } = await cluster.metadata().volumes.find("v");
  assert.deepEqual(
    snapshots.map(({ name }) => name),
    ["s3"],
    "what was refused is not there when there is space again",
  );
  await kept.close();
  await client.close();
  await operator.close();
});

test("[C5] a snapshot outlives the crash of its writer: it rests on no open block", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await cluster.attach("v");
  for (let i = 0; i < 5; i++) await put(volume, i, 1 + i);
  await take(operator, "s1");
  for (let i = 0; i < 20; i++) await put(volume, i, 100 + i);
  client.kill();
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  const next = await cluster.attach("v");
  const refs = new Set<string>();
  for (const store of cluster.stores) {
    for (const { ref, state, held } of (await store.list(null, 1000)).blocks)
      if (ref.type === 0 && ref.epoch === 1 && ref.index === 1) refs.add(`${state} ${held}`);
  }
  assert.equal(refs.size, 1);
  assert.match([...refs][0], /^sealed/);
  await expect(await operator.volumes.openSnapshot("v", "s1"), { 0: 1, 4: 5, 5: 0 });
  await next.client.close();
  await operator.close();
  client.close().catch(() => {});
});

test("a volume without a writer is attached for the moment, and so is one whose writer has died", async () => {
  const { cluster, operator } = await openCluster({ leaseTtlMs: 300 });
  const empty = await take(operator, "empty");
  assert.equal(empty.usedBytes, 0);
  const { volume, client } = await cluster.attach("v");
  await put(volume, 3, 7);
  await volume.flush();
  client.vanish();
  await take(operator, "late");
  assert.equal((await cluster.metadata().volumes.find("v")).lease, null);
  await expect(await operator.volumes.openSnapshot("v", "late"), { 3: 7 });
  await expect(await operator.volumes.openSnapshot("v", "empty"), { 3: 0 });
  await operator.close();
  client.close().catch(() => {});
});

test("a writer that cannot finish its log in time takes no snapshot, then or later, and says what it waits for", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await cluster.attach("v");
  await put(volume, 0, 1);
  for (const { peer } of cluster.stores) cluster.cut.add(peer);
  await assert.rejects(take(operator, "s1", 300), (error) => isTorusError(error, "timeout"));
  cluster.cut.clear();
  await put(volume, 1, 2);
  await volume.flush();
  await take(operator, "s2");
  const state = await cluster.metadata().volumes.find("v");
  assert.deepEqual(
    state.snapshots.map(({ name }) => name),
    ["s2"],
  );
  await operator.close();
  await client.close();
});

test("[C16] a full pool refuses a snapshot that would have to finish the log, and the volume goes on", async () => {
  const { cluster, operator } = await openCluster({ storeBytes: 2 ** 20 });
  await cluster.metadata().volumes.create({
    name: "w",
    sizeBytes: 2 ** 30,
    acknowledge: "writeback",
    minReplicas: 2,
  });
  const { volume, client } = await cluster.attach("w");
  const writes = Array.from({ length: 300 }, (_, i) => put(volume, i, i + 1));
  await Promise.allSettled(writes);
  const order = { volume: "w", name: "s1", labels: {}, timeoutMs: 5000 };
  await assert.rejects(operator.volumes.takeSnapshot(order), (error) => isTorusError(error, "full"));
  await expect(volume, { 0: 1 });
  client.kill();
  await operator.close();
  client.close().catch(() => {});
});

test("[C23] a restore brings the snapshot back, keeps the present, and no tail is replayed over it", async () => {
  const { cluster, operator } = await openCluster({ leaseTtlMs: 300 });
  const first = await cluster.attach("v");
  for (let i = 0; i < 40; i++) await put(first.volume, i, 1 + i);
  await take(operator, "s1");
  for (let i = 0; i < 60; i++) await put(first.volume, i, 500 + i);
  await first.volume.flush();
  await assert.rejects(
    operator.volumes.restoreSnapshot({ volume: "v", snapshot: "s1", force: false }),
    (error) => isTorusError(error, "busy") && error.message.includes("attached by test"),
  );
  // The writer dies: the restore's own attach appends its tail again, in the epoch the restored head is of.
  first.client.vanish();
  await cluster
    .metadata()
    .service.revokeLease(
      (await cluster.metadata().service.read([{ prefix: "volumes/" }])).ranges[0].find(({ key }) =>
        key.endsWith("/lease"),
      )?.lease ?? 0,
    );
  const { kept } = await operator.volumes.restoreSnapshot({ volume: "v", snapshot: "s1", force: false });
  assert.match(kept.name, /^before-restore-\d{8}T\d{6}\.\d{3}Z$/);
  const state = await cluster.metadata().volumes.find("v");
  assert.equal(state.lease, null);
  assert.equal(state.head?.epoch, state.writer.epoch);
  assert.equal(state.head?.usedBytes, 40 * pageBytes);
  for (let round = 0; round < 3; round++) {
    const { volume, client } = await cluster.attach("v");
    await expect(volume, { 0: 1, 39: 40, 40: 0, 59: 0, 100: round });
    await put(volume, 100, round + 1);
    await volume.flush();
    client.kill();
    client.close().catch(() => {});
  }
  await expect(await operator.volumes.openSnapshot("v", kept.name), { 0: 500, 59: 559 });
  await operator.close();
  first.client.close().catch(() => {});
});

test("[C6] a snapshot that is deleted while it is restored is not restored", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await cluster.attach("v");
  await put(volume, 0, 1);
  await take(operator, "s1");
  await put(volume, 0, 2);
  await client.close();
  const attached = await operator.volumes.attachNow("v", { force: false });
  const found = await cluster.metadata().snapshots.find("v", "s1");
  await cluster.metadata().snapshots.delete("v", "s1");
  const wish = { name: "kept", labels: {}, token: "t", atMs: null };
  await assert.rejects(attached.restore(found, wish), (error) => isTorusError(error, "not-found"));
  await put(attached, 1, 3);
  await attached.close();
  const next = await cluster.attach("v");
  await expect(next.volume, { 0: 2, 1: 3 });
  await next.client.close();
  await operator.close();
});

test("a snapshot costs the same in a volume of 1 GiB and in a sparse one of 1 TiB", async (t) => {
  const costs: { metadata: number; nodes: number }[] = [];
  for (const sizeBytes of [2 ** 30, 2 ** 40]) {
    const { cluster, operator } = await openCluster({ sizeBytes });
    const { volume, client } = await cluster.attach("v");
    // The same places relative to the end, so that the map has as many leaves in both.
    const pages = sizeBytes / pageBytes;
    for (let i = 0; i < 200; i++) await put(volume, Math.floor((i * pages) / 200), i + 1);
    await take(operator, "before");
    const written = () => client.metrics.counter("torus_volume_checkpoint_bytes_total", "").value;
    const nodesBefore = written();
    await put(volume, pages - 1, 9);
    const startedMs = performance.now();
    await take(operator, "s1");
    const tookMs = performance.now() - startedMs;
    const { ranges } = await cluster.metadata().service.read([{ prefix: "volumes/" }]);
    const key = ranges[0].find((entry) => entry.key.endsWith("/snapshots/s1"));
    const cost = { metadata: key?.value.length ?? 0, nodes: written() - nodesBefore };
    t.diagnostic(`${sizeBytes / 2 ** 30} GiB: ${tookMs.toFixed(1)} ms, ${JSON.stringify(cost)} bytes`);
    costs.push(cost);
    await operator.close();
    await client.close();
  }
  assert.ok(costs.every(({ metadata, nodes }) => metadata < 600 && nodes < 64 * 1024));
  assert.ok(Math.abs(costs[0].metadata - costs[1].metadata) < 16);
});
