// Volumes on a cluster in memory: the device suite, attach and detach, lost peers, takeovers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, pageBytes } from "#model";
import { TestCluster } from "./cluster.fixture.ts";
import { blockDeviceSuite } from "./device-suite.ts";

for (const blockBytes of [64 * 1024, 1024 * 1024]) {
  blockDeviceSuite(`volume, blocks of ${blockBytes / 1024} KiB`, async (sizeBytes) => {
    const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes });
    await cluster.createVolume("v", sizeBytes);
    const { volume, client } = await cluster.attach("v");
    const takeSnapshot = (name: string) =>
      client.volumes.takeSnapshot({ volume: "v", name, labels: {}, timeoutMs: 10_000 });
    return { device: volume, takeSnapshot, close: () => client.close() };
  });
}

function page(seed: number): Uint8Array {
  return new Uint8Array(pageBytes).map((_, i) => (seed * 31 + (i >> 4) * 7 + i) & 255);
}

test("what was written is there after detach and attach", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  const first = await cluster.attach("v");
  for (let i = 0; i < 100; i++) await first.volume.write(i * 37 * pageBytes, page(i), false);
  await first.volume.trim(37 * pageBytes, pageBytes, false);
  await first.volume.close();
  const second = await cluster.attach("v");
  for (let i = 0; i < 100; i++) {
    assert.deepEqual(
      Buffer.from(await second.volume.read(i * 37 * pageBytes, pageBytes)),
      i === 1 ? Buffer.alloc(pageBytes) : Buffer.from(page(i)),
    );
  }
  await first.client.close();
  await second.client.close();
});

test("a killed client's flushed writes are there for the next", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  let expected = new Map<number, number>();
  for (let round = 0; round < 8; round++) {
    const { volume, client } = await cluster.attach("v");
    for (const [at, seed] of expected)
      assert.deepEqual(
        Buffer.from(await volume.read(at * pageBytes, pageBytes)),
        Buffer.from(page(seed)),
        `round ${round} page ${at}`,
      );
    const written = new Map(expected);
    const pending: Promise<void>[] = [];
    for (let i = 0; i < 40; i++) {
      const at = (i * 7919 + round * 13) % 500;
      written.set(at, round * 100 + i);
      pending.push(volume.write(at * pageBytes, page(round * 100 + i), false));
    }
    await Promise.all(pending);
    await volume.flush();
    expected = written;
    client.kill();
    for (const store of cluster.stores) store.restart({ loseUnsynced: round % 2 === 0 });
    client.close().catch(() => {});
  }
});

test("a peer that goes away is struck and writes go on; it comes back", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  const { volume, client } = await cluster.attach("v");
  await volume.write(0, page(1), false);
  const away = cluster.stores[1].peer;
  cluster.cut.add(away);
  await volume.write(pageBytes, page(2), false);
  await volume.flush();
  for (let i = 0; i < 50; i++) await volume.write((2 + i) * pageBytes, page(3 + i), false);
  await volume.flush();
  cluster.store(away).restart({ loseUnsynced: true });
  cluster.cut.delete(away);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  for (let i = 0; i < 50; i++) await volume.write((60 + i) * pageBytes, page(3 + i), false);
  await volume.flush();
  cluster.cut.add(cluster.stores[0].peer);
  for (let i = 0; i < 50; i++)
    assert.deepEqual(
      Buffer.from(await volume.read((2 + i) * pageBytes, pageBytes)),
      Buffer.from(page(3 + i)),
    );
  for (let i = 0; i < 50; i++)
    assert.deepEqual(
      Buffer.from(await volume.read((60 + i) * pageBytes, pageBytes)),
      Buffer.from(page(3 + i)),
    );
  cluster.cut.clear();
  await client.close();
});

test("a writer that was replaced by force gets no OK any more", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  const first = await cluster.attach("v");
  await first.volume.write(0, page(1), false);
  await first.volume.flush();
  const second = await cluster.attach("v");
  await assert.rejects(
    (async () => {
      await first.volume.write(0, page(2), false);
      await first.volume.flush();
    })(),
    (error) => isTorusError(error, "attachment-lost"),
  );
  await assert.rejects(first.volume.flush(), (error) => isTorusError(error, "attachment-lost"));
  assert.deepEqual(Buffer.from(await second.volume.read(0, pageBytes)), Buffer.from(page(1)));
  await first.client.close().catch(() => {});
  await second.client.close();
});

test("[C11] all peers power-cycle under a live writer: it sends again what they lost, and goes on", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  const { volume, client } = await cluster.attach("v");
  for (let i = 0; i < 10; i++) await volume.write(i * pageBytes, page(i), false);
  for (const store of cluster.stores) cluster.cut.add(store.peer);
  const pending = volume.write(10 * pageBytes, page(10), false);
  await new Promise((resolve) => setTimeout(resolve, 150));
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  cluster.cut.clear();
  await pending;
  await volume.flush();
  client.kill();
  client.close().catch(() => {});
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  const next = await cluster.attach("v");
  for (let i = 0; i <= 10; i++) {
    assert.deepEqual(Buffer.from(await next.volume.read(i * pageBytes, pageBytes)), Buffer.from(page(i)));
  }
  await next.client.close();
});

test("[C16] a full pool refuses new data with `full`, keeps what it has, and goes on when there is space", async () => {
  const cluster = await TestCluster.open({
    peers: 3,
    replicas: 3,
    blockBytes: 64 * 1024,
    storeBytes: 1024 * 1024,
  });
  await cluster.createVolume("v", 2 ** 30);
  const { volume, client } = await cluster.attach("v");
  let written = 0;
  await assert.rejects(
    (async () => {
      for (; written < 1000; written++) await volume.write(written * pageBytes, page(written), false);
    })(),
    (error) => isTorusError(error, "full"),
  );
  assert.ok(written > 50);
  await volume.flush();
  for (let i = 0; i < written; i++) {
    assert.deepEqual(Buffer.from(await volume.read(i * pageBytes, pageBytes)), Buffer.from(page(i)));
  }
  await assert.rejects(volume.write(0, page(9), false), (error) => isTorusError(error, "full"));
  await assert.rejects(volume.write(0, page(9), true), (error) => isTorusError(error, "full"));
  client.kill();
  await client.close().catch(() => {});
  // Who attaches next is told at once, and does not hang.
  const next = await cluster.client();
  await next.volumes.attach("v", { force: true }).then(
    (attached) => attached.flush(),
    (error) => assert.ok(isTorusError(error, "full"), String(error)),
  );
  await next.close().catch(() => {});
});

test("[C16] a flush of a writeback volume on a full pool fails, and does not wait for ever", async () => {
  const cluster = await TestCluster.open({
    peers: 3,
    replicas: 3,
    blockBytes: 64 * 1024,
    storeBytes: 512 * 1024,
  });
  await cluster.createVolume("v", 2 ** 30, "writeback");
  const { volume, client } = await cluster.attach("v");
  await Promise.allSettled(
    Array.from({ length: 300 }, (_, i) => volume.write(i * pageBytes, page(i), false)),
  );
  await assert.rejects(volume.flush(), (error) => isTorusError(error, "full"));
  client.kill();
  await client.close().catch(() => {});
});

test("[C19] after an attachment is lost no flush says OK, however often it is asked", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  const first = await cluster.attach("v");
  await first.volume.write(0, page(1), false);
  const second = await cluster.attach("v");
  for (let i = 0; i < 3; i++) {
    await assert.rejects(first.volume.flush(), (error) => isTorusError(error, "attachment-lost"));
  }
  assert.ok(isTorusError(await first.volume.lost, "attachment-lost"));
  await first.client.close().catch(() => {});
  await second.client.close();
});

test("[C24] a metadata service that is away longer than the lease holds requests, and they go on when it is back", async () => {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024, leaseTtlMs: 1000 });
  await cluster.createVolume("v", 2 ** 30);
  const { volume, client } = await cluster.attach("v");
  await volume.write(0, page(1), false);
  cluster.metadataAway = true;
  await new Promise((resolve) => setTimeout(resolve, 1300));
  let answered = false;
  const read = volume.read(0, pageBytes).then((bytes) => {
    answered = true;
    return bytes;
  });
  const write = volume.write(pageBytes, page(2), false);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(answered, false, "a read is held while the lease is in doubt");
  cluster.metadataAway = false;
  assert.deepEqual(Buffer.from(await read), Buffer.from(page(1)));
  await write;
  await volume.flush();
  await client.close();
});

test("[C11] a block that loses two members at once moves to peers that live, and flushes wait for that", async () => {
  const cluster = await TestCluster.open({ peers: 5, replicas: 3, blockBytes: 64 * 1024 });
  await cluster.createVolume("v", 2 ** 30);
  const { volume, client } = await cluster.attach("v");
  for (let i = 0; i < 40; i++) await volume.write(i * pageBytes, page(i), false);
  const state = await cluster.metadata().volumes.find("v");
  assert.ok(state.logmap !== null);
  // Whoever holds open blocks now: cut two of the peers that got bytes last.
  const holders = cluster.stores.filter((store) => store.openBlocks > 0).map((store) => store.peer);
  for (const peer of holders.slice(0, 2)) cluster.cut.add(peer);
  for (let i = 40; i < 80; i++) await volume.write(i * pageBytes, page(i), false);
  await volume.flush();
  assert.ok(client.metrics.counter("torus_volume_abandoned_blocks_total", "").value > 0);
  client.kill();
  client.close().catch(() => {});
  for (const store of cluster.stores) store.restart({ loseUnsynced: true });
  const next = await cluster.attach("v");
  for (let i = 0; i < 80; i++) {
    assert.deepEqual(
      Buffer.from(await next.volume.read(i * pageBytes, pageBytes)),
      Buffer.from(page(i)),
      `page ${i}`,
    );
  }
  await next.client.close();
});
