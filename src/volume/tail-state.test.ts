// [C20] Which detached volumes have a tail, and that recovering it leaves none.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pageBytes } from "#model";
import { TestCluster, volumeOf } from "./cluster.fixture.ts";
import { hasTail } from "./tail-state.ts";

const page = (value: number): Uint8Array => new Uint8Array(pageBytes).fill(value);

async function open() {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024, leaseTtlMs: 1000 });
  await cluster.createVolume("v", 2 ** 24);
  const state = () => cluster.metadata().volumes.find("v");
  return { cluster, state };
}

test("[C20] a volume that was never attached, or detached in order, has no tail; one whose writer died has", async () => {
  const { cluster, state } = await open();
  assert.ok(!hasTail(await state()));
  const first = await cluster.attach("v");
  assert.ok(hasTail(await state()), "while it is attached its log goes on");
  await first.volume.write(0, page(1), false);
  await first.client.close();
  assert.ok(!hasTail(await state()));
  const second = await cluster.attach("v");
  await second.volume.write(0, page(2), false);
  second.client.kill();
  await second.client.close().catch(() => {});
  assert.ok(hasTail(await state()));
});

test("[C20] a checkpoint between two blocks is no end: what is written after it is a tail", async () => {
  const { cluster, state } = await open();
  const { volume, client } = await cluster.attach("v");
  // 15 pages fill a block; the checkpoint finds no block open, and nothing to replay.
  await volume.write(0, new Uint8Array(15 * pageBytes), true);
  volumeOf(volume).checkpointSoon();
  for (let i = 0; i < 500 && ((await state()).head?.positionIndex ?? 0) < 1; i++)
    await new Promise((resolve) => setTimeout(resolve, 2));
  assert.ok(hasTail(await state()));
  client.kill();
  await client.close().catch(() => {});
});

test("[C20] a detached tail is recovered once nobody has the volume, and every copy of it is whole again", async () => {
  const { cluster, state } = await open();
  const { volume, client } = await cluster.attach("v");
  for (let i = 0; i < 40; i++) await volume.write(i * pageBytes, page(i + 1), false);
  await volume.flush();
  const keeper = await cluster.client();
  assert.equal(await keeper.volumes.recoverTail("v"), false, "somebody has it");
  client.kill();
  await client.close().catch(() => {});
  for (let i = 0; i < 200 && !(await keeper.volumes.recoverTail("v")); i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(!hasTail(await state()));
  assert.equal((await state()).lease, null);
  const { epoch } = (await state()).writer;
  assert.equal(await keeper.volumes.recoverTail("v"), true);
  assert.equal((await state()).writer.epoch, epoch, "what has no tail is left alone");
  // All that the head needs is sealed everywhere: any one peer is enough to read it.
  await cluster.collect("v");
  for (const store of cluster.stores) {
    assert.equal(store.openBlocks, 0);
    store.restart({ loseUnsynced: true });
  }
  const next = await cluster.attach("v");
  for (let i = 0; i < 40; i++)
    assert.deepEqual(Buffer.from(await next.volume.read(i * pageBytes, pageBytes)), Buffer.from(page(i + 1)));
  await next.client.close();
  await keeper.close();
});
