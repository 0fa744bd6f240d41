// The defects of the original Torus that lost or hid data, each as the test it never had: what a client of a whole cluster sees.
// The names are those of the list in docs/original.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { BlockRef } from "#model";
import { isTorusError, pageBytes } from "#model";
import { TestCluster } from "../../src/volume/cluster.fixture.ts";

const shape = { peers: 3, replicas: 3, blockBytes: 64 * 1024 };
const page = (seed: number): Uint8Array => new Uint8Array(pageBytes).fill(seed);

async function openVolume(options: Partial<Parameters<typeof TestCluster.open>[0]> = {}) {
  const cluster = await TestCluster.open({ ...shape, ...options });
  await cluster.createVolume("v", 2 ** 26);
  return { cluster, ...(await cluster.attach("v")) };
}

/** Whether `promise` has settled after `ms`. */
async function settlesWithin(ms: number, promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol("pending");
  const first = await Promise.race([promise.catch(() => null), sleep(ms, pending, { ref: false })]);
  return first !== pending;
}

test("D3: what the head points at is durable on every replica, not in a client's memory", async () => {
  const { cluster, volume, client } = await openVolume();
  for (let i = 0; i < 40; i++) await volume.write(i * pageBytes, page(1 + i), false);
  await volume.close();
  client.kill();
  client.close().catch(() => {});
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  // One replica after another is the only one left: each alone has the whole volume.
  for (const { peer } of cluster.stores) {
    cluster.cut.clear();
    const next = await cluster.attach("v");
    for (const other of cluster.stores) if (other.peer !== peer) cluster.cut.add(other.peer);
    for (let i = 0; i < 40; i++)
      assert.deepEqual(
        Buffer.from(await next.volume.read(i * pageBytes, pageBytes)),
        Buffer.from(page(1 + i)),
      );
    cluster.cut.clear();
    await next.volume.close();
  }
});

test("D4: a write that one replica of three took is not acknowledged", async () => {
  const { cluster, volume, client } = await openVolume();
  await volume.write(0, page(1), false);
  cluster.cut.add(cluster.stores[0].peer);
  cluster.cut.add(cluster.stores[1].peer);
  const write = volume.write(0, page(2), false);
  assert.equal(await settlesWithin(2500, write), false, "it waits for a second copy");
  cluster.cut.clear();
  await write;
  await volume.flush();
  await client.close();
});

test("D5: what a flush acknowledged outlives the power of every peer", async () => {
  const { cluster, volume, client } = await openVolume();
  await volume.write(7 * pageBytes, page(9), false);
  await volume.flush();
  client.kill();
  client.close().catch(() => {});
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  const next = await cluster.attach("v");
  assert.deepEqual(Buffer.from(await next.volume.read(7 * pageBytes, pageBytes)), Buffer.from(page(9)));
  await next.client.close();
});

test("D8: one replica's damage is neither seen nor kept", async () => {
  const { cluster, volume, client } = await openVolume();
  for (let i = 0; i < 64; i++) await volume.write(i * pageBytes, page(1 + i), false);
  await volume.close();
  await client.close();
  const [damaged] = cluster.stores;
  const hit: BlockRef[] = [];
  for (const { ref, state, held } of (await damaged.list(null, 1000)).blocks) {
    if (ref.type !== 0 || state !== "sealed") continue;
    for (let offset = 0; offset < held; offset += pageBytes) damaged.corrupt(ref, offset + 5);
    hit.push(ref);
  }
  assert.ok(hit.length > 0);
  const next = await cluster.attach("v");
  const readAll = async (): Promise<void> => {
    const reads = Array.from({ length: 64 }, (_, i) => next.volume.read(i * pageBytes, pageBytes));
    for (const [i, bytes] of (await Promise.all(reads)).entries())
      assert.deepEqual(Buffer.from(bytes), Buffer.from(page(1 + i)));
  };
  const count = (name: string): number => next.client.metrics.counter(name, "").value;
  const until = async (isSo: () => boolean): Promise<void> => {
    for (let i = 0; i < 1000 && !isSo(); i++) await sleep(10);
    assert.ok(isSo());
  };
  // While only the damaged replica answers, nothing wrong is returned.
  for (const { peer } of cluster.stores.slice(1)) cluster.cut.add(peer);
  const waiting = readAll();
  assert.equal(await settlesWithin(200, waiting), false);
  cluster.cut.clear();
  await waiting;
  await until(() => count("torus_distributor_repaired_blocks_total") >= hit.length);
  // Read from that replica alone, it must be right again.
  for (const { peer } of cluster.stores.slice(1)) cluster.cut.add(peer);
  await readAll();
  cluster.cut.clear();
  await next.client.close();
});

test("D13: a replica that never answers costs a read milliseconds, not minutes", async () => {
  const { cluster, volume, client } = await openVolume();
  for (let i = 0; i < 32; i++) await volume.write(i * pageBytes, page(1 + i), false);
  await volume.close();
  await client.close();
  Object.assign(cluster.stores[0], { read: () => new Promise(() => {}) });
  const next = await cluster.attach("v");
  const started = performance.now();
  for (let i = 0; i < 32; i++)
    assert.deepEqual(Buffer.from(await next.volume.read(i * pageBytes, pageBytes)), Buffer.from(page(1 + i)));
  assert.ok(performance.now() - started < 10_000, "far below the original's 8.5 minutes");
  await next.client.close();
});

test("D16: after a trim nobody reads what was there, whatever was buffered or cached", async () => {
  const { cluster, volume, client } = await openVolume();
  for (let i = 0; i < 8; i++) await volume.write(i * pageBytes, page(1 + i), false);
  await volume.read(0, 8 * pageBytes);
  await volume.write(2 * pageBytes, page(99), false);
  await volume.trim(0, 8 * pageBytes, false);
  await volume.write(5 * pageBytes, page(77), false);
  const expected = Buffer.alloc(8 * pageBytes);
  expected.fill(77, 5 * pageBytes, 6 * pageBytes);
  assert.ok(expected.equals(await volume.read(0, 8 * pageBytes)));
  await volume.flush();
  client.kill();
  client.close().catch(() => {});
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  const next = await cluster.attach("v");
  assert.ok(expected.equals(await next.volume.read(0, 8 * pageBytes)));
  await next.client.close();
});

test("#250: with every peer away a client is told nothing is kept, and the volume opens whole afterwards", async () => {
  const { cluster, volume, client } = await openVolume();
  await volume.write(0, page(1), false);
  await volume.flush();
  for (const { peer } of cluster.stores) cluster.cut.add(peer);
  const late = volume.write(0, page(2), false);
  assert.equal(await settlesWithin(1500, late), false, "it waits");
  client.kill();
  client.close().catch(() => {});
  cluster.cut.clear();
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  const next = await cluster.attach("v");
  const seen = (await next.volume.read(0, pageBytes))[0];
  assert.ok(seen === 1 || seen === 2, "what was flushed, or what was under way");
  late.catch(() => {});
  await next.client.close();
});

test("#230: a client that returns from a partition never writes beside the one that took over", async () => {
  const { cluster, volume: old, client } = await openVolume();
  await old.write(0, page(1), false);
  await old.flush();
  const next = await cluster.attach("v");
  await next.volume.write(0, page(2), false);
  await next.volume.flush();
  // The old one never heard of it; its peers have.
  await assert.rejects(async () => {
    await old.write(0, page(3), false);
    await old.flush();
  });
  await assert.rejects(old.flush(), (error) => isTorusError(error), "and no later flush is answered OK");
  assert.deepEqual(Buffer.from(await next.volume.read(0, pageBytes)), Buffer.from(page(2)));
  await next.client.close();
  client.close().catch(() => {});
});

test("#294: writing a whole volume costs the metadata service next to nothing", async () => {
  const { cluster, volume, client } = await openVolume();
  const before = (await cluster.metadata().service.read([])).revision;
  for (let i = 0; i < 4096; i++) await volume.write((i % 16_384) * pageBytes, page(i & 255), false);
  await volume.flush();
  const after = (await cluster.metadata().service.read([])).revision;
  assert.ok(after - before <= 8, `${after - before} transactions for 4096 writes`);
  await client.close();
});
