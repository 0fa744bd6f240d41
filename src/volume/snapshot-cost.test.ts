// What a snapshot and a clone cost, counted: transactions and their bytes, blocks read and put. The same of a large map as of a small one: of a volume
// of 1 TiB with as many leaves as 100 GiB in one piece have (one page in each) as of one with 64.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pageBytes } from "#model";
import { attachTuningDefaults } from "./attach-options.ts";
import { TestCluster } from "./cluster.fixture.ts";
import { leafPages } from "./inode-codec.ts";

const fewLeaves = 64;
const manyLeaves = (100 * 2 ** 30) / pageBytes / leafPages;
/** The nodes of the map above a leaf: some kilobytes more where there are many. */
const nodeBytesMax = 48 * 1024;
const atOnce = 64;

interface Cost {
  readonly transactions: number;
  readonly metadataBytes: number;
  readonly reads: number;
  readonly readBytes: number;
  readonly puts: number;
  readonly putBytes: number;
  readonly ms: number;
}

/** What each step costs a volume whose map has so many leaves, one page of which was written since the last checkpoint. */
async function costsOf(leaves: number): Promise<Readonly<Record<string, Cost>>> {
  const tuning = { ...attachTuningDefaults, windowBytesMin: 2 ** 20 };
  const cluster = await TestCluster.open({
    peers: 1,
    replicas: 1,
    blockBytes: 2 ** 22,
    leaseTtlMs: 60_000,
    tuning,
  });
  await cluster.createVolume("v", 2 ** 40);
  const { volume, client } = await cluster.attach("v");
  const page = Buffer.alloc(pageBytes, 1);
  const write = (leaf: number) => volume.write(leaf * leafPages * pageBytes, page, false);
  for (let leaf = 0; leaf < leaves; leaf += atOnce)
    await Promise.all(Array.from({ length: atOnce }, (_, i) => write(leaf + i)));
  const operator = await cluster.client();
  const take = (name: string) =>
    operator.volumes.takeSnapshot({ volume: "v", name, labels: {}, timeoutMs: 60_000 });
  await take("before");
  await write(leaves / 2);
  const costs: Record<string, Cost> = {};
  const count = async (what: string, step: () => Promise<unknown>): Promise<void> => {
    const before = { ...cluster.work };
    const began = performance.now();
    await step();
    const ms = Math.round(performance.now() - began);
    const counted = Object.entries(cluster.work).map(([name, value]) => [
      name,
      value - before[name as keyof typeof before],
    ]);
    costs[what] = { ...(Object.fromEntries(counted) as Omit<Cost, "ms">), ms };
  };
  await count("snapshot", () => take("s"));
  const same = { sizeBytes: null, acknowledge: null, minReplicas: null };
  const of = { volume: "v", snapshot: "s", name: "c", ...same };
  await count("clone", () => cluster.metadata().clones.create(of));
  await count("first read of the clone", async () => {
    const clone = await operator.volumes.attach("c", { force: false });
    const bytes = await clone.read((leaves / 2) * leafPages * pageBytes, pageBytes);
    assert.ok(Buffer.from(bytes).equals(page));
  });
  await operator.close();
  await client.close();
  return costs;
}

test("a snapshot and a clone of a large map take as many transactions, reads and writes as of a small one", async (t) => {
  const few = await costsOf(fewLeaves);
  const many = await costsOf(manyLeaves);
  for (const [what, small] of Object.entries(few)) {
    const large = many[what];
    t.diagnostic(`${what}: ${fewLeaves} leaves ${JSON.stringify(small)}`);
    t.diagnostic(`${what}: ${manyLeaves} leaves ${JSON.stringify(large)}`);
    assert.equal(large.transactions, small.transactions, what);
    assert.ok(
      large.metadataBytes < small.metadataBytes + 100,
      `${what}: ${large.metadataBytes} bytes of metadata`,
    );
    assert.ok(large.reads <= small.reads + 1, `${what}: ${large.reads} reads`);
    assert.ok(large.readBytes < nodeBytesMax, `${what}: ${large.readBytes} bytes read`);
    assert.equal(large.puts, small.puts, what);
    assert.ok(large.putBytes < nodeBytesMax, `${what}: ${large.putBytes} bytes put`);
  }
});
