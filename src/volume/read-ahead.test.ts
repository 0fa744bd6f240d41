// Streams of small reads of what is on peers: read ahead in a few large pieces, right also where it is written meanwhile, and failing nobody.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pageBytes } from "#model";
import type { BlockDevice } from "./block-device.ts";
import type { TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";

const pages = 600;
const contentOf = (page: number, version: number): Buffer =>
  Buffer.alloc(pageBytes, `page ${page} as of ${version} `);

async function filled(readCacheBytes: number) {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 256 * 1024, readCacheBytes });
  await cluster.createVolume("v", pages * pageBytes);
  const { volume, client } = await cluster.attach("v");
  for (let page = 0; page < pages; page++) await volume.write(page * pageBytes, contentOf(page, 1), false);
  await volume.flush();
  // What is detached is on the peers alone.
  await client.close();
  return cluster;
}

const metricOf = ({ metrics }: TestClient, name: string): number =>
  metrics.collect().find((sample) => sample.name === name)!.value;
const asked = (client: TestClient): number => metricOf(client, "torus_distributor_reads_total");

async function expectPage(volume: BlockDevice, page: number, version: number): Promise<void> {
  const bytes = Buffer.from(await volume.read(page * pageBytes, pageBytes));
  assert.ok(bytes.equals(contentOf(page, version)), `page ${page}: ${bytes.toString("latin1", 0, 20)}`);
}

test("a stream is read in a tenth of the reads, and once more from the cache", async () => {
  const cluster = await filled(8 * 2 ** 20);
  const { volume, client } = await cluster.attach("v");
  const before = asked(client);
  for (let page = 0; page < pages; page++) await expectPage(volume, page, 1);
  const first = asked(client) - before;
  assert.ok(first < pages / 10, `${first} reads of peers for ${pages} pages`);
  for (let page = pages - 1; page >= 0; page--) await expectPage(volume, page, 1);
  assert.equal(asked(client) - before, first);
  assert.ok(metricOf(client, "torus_distributor_cached_bytes") >= pages * pageBytes * 0.9);
  await client.close();
});

test("without a cache every page is asked for", async () => {
  const cluster = await filled(0);
  const { volume, client } = await cluster.attach("v");
  const before = asked(client);
  for (let page = 0; page < pages; page++) await expectPage(volume, page, 1);
  assert.ok(asked(client) - before >= pages);
  await client.close();
});

test("what is written while it is read ahead is read as it was written", async () => {
  const cluster = await filled(2 ** 20);
  const { volume, client } = await cluster.attach("v");
  const versions = new Array<number>(pages).fill(1);
  for (let page = 0; page < pages; page++) {
    for (const ahead of [page + 3, page + 40]) {
      if (ahead >= pages) continue;
      versions[ahead] += 1;
      void volume.write(ahead * pageBytes, contentOf(ahead, versions[ahead]), false);
    }
    await expectPage(volume, page, versions[page]);
  }
  await volume.flush();
  for (let page = 0; page < pages; page++) await expectPage(volume, page, versions[page]);
  await client.close();
});

test("where nobody answers, reading ahead fails nobody; the read waits, and ends when somebody does", async () => {
  const cluster = await filled(2 ** 20);
  const { volume, client } = await cluster.attach("v");
  for (let page = 0; page < 3; page++) await expectPage(volume, page, 1);
  for (const { peer } of cluster.stores) cluster.cut.add(peer);
  const read = expectPage(volume, 300, 1);
  await new Promise((resolve) => setImmediate(resolve));
  cluster.cut.clear();
  await read;
  for (let page = 3; page < pages; page++) await expectPage(volume, page, 1);
  await client.close();
});
