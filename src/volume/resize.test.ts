// Volumes that get another size while they serve: asked from outside, refused, forced, in a crash, and beside snapshots. What a volume
// lost by becoming smaller must never be seen again.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { VolumeSpec } from "#metadata";
import { isTorusError, pageBytes } from "#model";
import { attachTuningDefaults } from "./attach-options.ts";
import type { AttachedVolume } from "./catalog.ts";
import type { TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";
import type { Volume } from "./volume.ts";

const MiB = 2 ** 20;
/** Little of the log is in memory, so that requests wait for room. */
const tuning = { ...attachTuningDefaults, windowBytesMin: 0 };

async function openCluster(sizeBytes = 4 * MiB): Promise<{ cluster: TestCluster; operator: TestClient }> {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024, tuning });
  await cluster.createVolume("v", sizeBytes);
  return { cluster, operator: await cluster.client() };
}

function resize(operator: TestClient, sizeBytes: number, force = false): Promise<VolumeSpec> {
  return operator.volumes.resize({ volume: "v", sizeBytes, force, timeoutMs: 5000 });
}

async function attach(cluster: TestCluster): Promise<{ volume: Volume; client: TestClient }> {
  const client = await cluster.client();
  return { client, volume: await client.volumes.attachNow("v", { force: true }) };
}

function content(seed: number): Buffer {
  return Buffer.alloc(pageBytes, `page ${seed} `);
}

function put(volume: AttachedVolume, page: number, seed: number): Promise<void> {
  return volume.write(page * pageBytes, content(seed), false);
}

/** What each page should be: the seed it was written with, 0 for zeroes. */
async function expect(
  volume: Pick<AttachedVolume, "read">,
  pages: Readonly<Record<number, number>>,
): Promise<void> {
  for (const [page, seed] of Object.entries(pages)) {
    const found = Buffer.from(await volume.read(Number(page) * pageBytes, pageBytes));
    assert.ok(found.equals(seed === 0 ? Buffer.alloc(pageBytes) : content(seed)), `page ${page}`);
  }
}

const is = (code: "busy" | "invalid-argument" | "timeout") => (error: unknown) => isTorusError(error, code);

test("a volume grows while it is written to: what is new reads as zeroes and can be written", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await attach(cluster);
  await put(volume, 1023, 7);
  await assert.rejects(put(volume, 1024, 8), is("invalid-argument"));
  const { info } = volume;
  const writes = Array.from({ length: 50 }, (_, i) => put(volume, i, i + 1));
  assert.equal((await resize(operator, 6 * MiB)).sizeBytes, 6 * MiB);
  await Promise.all(writes);
  assert.equal(info.sizeBytes, 4 * MiB, "what was looked at before stays as it was");
  assert.equal(volume.info.sizeBytes, 6 * MiB);
  await put(volume, 1535, 9);
  await expect(volume, { 0: 1, 49: 50, 1023: 7, 1024: 0, 1534: 0, 1535: 9 });
  client.kill();
  client.close().catch(() => {});
  const next = await attach(cluster);
  assert.equal(next.volume.info.sizeBytes, 6 * MiB);
  await expect(next.volume, { 0: 1, 49: 50, 1023: 7, 1024: 0, 1535: 9 });
  await next.client.close();
  await operator.close();
});

test("a volume that nobody has attached gets its size all the same; the same size again is nothing to do", async () => {
  const { cluster, operator } = await openCluster();
  await resize(operator, 8 * MiB);
  await resize(operator, 8 * MiB);
  await resize(operator, MiB);
  const { spec, lease } = await cluster.metadata().volumes.find("v");
  assert.deepEqual([spec.sizeBytes, lease], [MiB, null]);
  for (const sizeBytes of [0, 512, 4095, -4096, MiB + 512, 2 ** 48 + 4096, Number.NaN])
    await assert.rejects(resize(operator, sizeBytes), is("invalid-argument"), `${sizeBytes}`);
  await operator.close();
});

test("a volume that is in use past its new end stays as it is, until that is trimmed", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await attach(cluster);
  for (const page of [0, 511, 512, 700]) await put(volume, page, page + 1);
  await assert.rejects(resize(operator, 2 * MiB), (error) => {
    assert.ok(isTorusError(error, "busy"));
    return /in use past 2\.0 MiB, at byte 2097152: .*--force/.test(error.message);
  });
  assert.equal(volume.info.sizeBytes, 4 * MiB);
  await put(volume, 600, 601);
  await expect(volume, { 511: 512, 512: 513, 600: 601, 700: 701 });
  await volume.trim(2 * MiB, 2 * MiB, false);
  await resize(operator, 2 * MiB);
  await assert.rejects(volume.read(2 * MiB, 1), is("invalid-argument"));
  await assert.rejects(volume.trim(0, 4 * MiB, false), is("invalid-argument"));
  await resize(operator, 4 * MiB);
  await expect(volume, { 0: 1, 511: 512, 512: 0, 600: 0, 700: 0 });
  await client.close();
  await operator.close();
});

test("requests past the end wait until it is decided, and what force gave up is never seen again", async () => {
  const { cluster, operator } = await openCluster(512 * MiB);
  const { volume, client } = await attach(cluster);
  for (let page = 0; page < 500; page += 3) await put(volume, page, page + 1);
  // Writes where there was nothing yet wait for room when the size changes: they go in, and then go.
  const outcomes: Promise<unknown>[] = [];
  const early = Array.from({ length: 300 }, (_, i) => put(volume, i < 200 ? 600 + i : 100_000 + i, i + 1));
  const resized = volume.orders.resize({ sizeBytes: MiB, force: true });
  await new Promise((resolve) => setImmediate(resolve));
  for (let page = 200; page < 1000; page += 7) {
    const at = page * pageBytes + 100;
    outcomes.push(volume.write(at, Buffer.from("late"), false));
    outcomes.push(volume.writeZeroes(at, 2000, false));
  }
  const below = put(volume, 10, 11);
  await Promise.all(early);
  const settled = await Promise.allSettled([resized, below, ...outcomes]);
  const late = settled.slice(2).filter((_, i) => 200 + 7 * Math.floor(i / 2) >= 256);
  assert.ok(late.length > 100);
  for (const outcome of late)
    assert.ok(outcome.status === "rejected" && is("invalid-argument")(outcome.reason));
  assert.deepEqual([settled[0].status, settled[1].status], ["fulfilled", "fulfilled"]);
  await put(volume, 255, 256);
  client.kill();
  client.close().catch(() => {});
  await resize(operator, 512 * MiB).catch(() => {});
  const next = await attach(cluster);
  if (next.volume.info.sizeBytes === MiB) await resize(operator, 512 * MiB);
  await expect(next.volume, { 0: 1, 10: 11, 255: 256, 258: 0, 600: 0, 799: 0, 999: 0, 100200: 0, 100299: 0 });
  await next.client.close();
  await operator.close();
});

test("a refused shrink lets those who waited go on", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await attach(cluster);
  await put(volume, 1000, 1);
  const refused = assert.rejects(volume.orders.resize({ sizeBytes: MiB, force: false }), is("busy"));
  await new Promise((resolve) => setImmediate(resolve));
  const waiting = [put(volume, 999, 2), volume.writeZeroes(998 * pageBytes, 10, false), volume.flush()];
  await refused;
  await Promise.all(waiting);
  await expect(volume, { 999: 2, 1000: 1 });
  await client.close();
  await operator.close();
});

test("snapshots keep their size: they are read, cloned and restored with it", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await attach(cluster);
  await put(volume, 0, 1);
  await put(volume, 1000, 2);
  const take = (name: string) =>
    operator.volumes.takeSnapshot({ volume: "v", name, labels: {}, timeoutMs: 5000 });
  await take("large");
  await resize(operator, MiB, true);
  await put(volume, 0, 3);
  assert.equal((await take("small")).sizeBytes, MiB);
  const large = await operator.volumes.openSnapshot("v", "large");
  assert.equal(large.info.sizeBytes, 4 * MiB);
  await expect(large, { 0: 1, 1000: 2 });
  const plain = { sizeBytes: null, acknowledge: null, minReplicas: null };
  await cluster.metadata().clones.create({ volume: "v", snapshot: "large", name: "copy", ...plain });
  const copy = await operator.volumes.attachNow("copy", { force: false });
  await expect(copy, { 0: 1, 1000: 2 });
  await copy.orders.resize({ sizeBytes: MiB, force: true });
  await copy.orders.resize({ sizeBytes: 5 * MiB, force: false });
  await expect(copy, { 0: 1, 1000: 0, 1279: 0 });
  await client.close();
  const { kept } = await operator.volumes.restoreSnapshot({ volume: "v", snapshot: "large", force: false });
  assert.equal(kept.sizeBytes, MiB);
  const again = await operator.volumes.attachNow("v", { force: false });
  assert.equal(again.info.sizeBytes, 4 * MiB);
  await expect(again, { 0: 1, 1000: 2 });
  await again.close();
  await operator.volumes.restoreSnapshot({ volume: "v", snapshot: "small", force: false });
  const last = await operator.volumes.attachNow("v", { force: false });
  assert.equal(last.info.sizeBytes, MiB);
  await expect(last, { 0: 3, 255: 0 });
  await last.orders.resize({ sizeBytes: 4 * MiB, force: false });
  await expect(last, { 0: 3, 1000: 0 });
  await operator.close();
});

test("a resize waits for the metadata service, and one that nobody waits for any more is not done later", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await attach(cluster);
  await put(volume, 1000, 1);
  for (const { peer } of cluster.stores.slice(0, 2)) cluster.cut.add(peer);
  const short = { volume: "v", sizeBytes: MiB, force: true, timeoutMs: 300 };
  await assert.rejects(operator.volumes.resize(short), is("timeout"));
  cluster.cut.clear();
  // A resize that comes afterwards finds the other out of the way.
  await volume.orders.resize({ sizeBytes: 6 * MiB, force: false });
  assert.equal((await cluster.metadata().volumes.find("v")).spec.sizeBytes, 6 * MiB);
  await client.close();
  await operator.close();
});

for (let seed = 1; seed <= 12; seed++) {
  test(`a crash in the middle of a resize leaves the old size or the new, and nothing old past the end, seed ${seed}`, async () => {
    const { cluster, operator } = await openCluster();
    const { volume, client } = await attach(cluster);
    for (let page = 0; page < 1024; page += 2) await put(volume, page, page + 1);
    await volume.flush();
    volume.orders.resize({ sizeBytes: MiB, force: true }).catch(() => {});
    // Sooner or later in the course of it: nothing done yet, trimmed, sealed, the INode put, committed.
    for (let turn = 0; turn < seed; turn++) await new Promise((resolve) => setImmediate(resolve));
    client.vanish();
    client.close().catch(() => {});
    for (const store of cluster.stores) store.restart({ loseUnsynced: seed % 2 === 0 });
    const next = await attach(cluster);
    const isSmall = next.volume.info.sizeBytes === MiB;
    assert.ok(isSmall || next.volume.info.sizeBytes === 4 * MiB);
    await expect(next.volume, { 0: 1, 1: 0, 254: 255, 255: 0 });
    if (!isSmall) await next.volume.orders.resize({ sizeBytes: MiB, force: true });
    await next.volume.orders.resize({ sizeBytes: 4 * MiB, force: false });
    await expect(next.volume, { 254: 255, 256: 0, 512: 0, 1000: 0, 1022: 0 });
    await next.client.close();
    await operator.close();
  });
}
