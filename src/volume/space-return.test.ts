// A pool with little room: a writer that is faster than cleaning and collecting goes on at their speed and is not refused; where nothing can come back it
// is told so, soon [C16].

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, pageBytes } from "#model";
import type { AttachedVolume } from "./catalog.ts";
import { cleanerDefaults } from "./cleaner.ts";
import { TestCluster } from "./cluster.fixture.ts";

const blockBytes = 64 * 1024;
const livePages = 360;
const overwrites = 3000;
const writersAtOnce = 16;
const collectEveryMs = 700;
/** Far less than what is waited for space that is on its way. */
const refusedMsMax = 10_000;

async function open(blocks: number, pages: number) {
  const cluster = await TestCluster.open({
    peers: 3,
    replicas: 3,
    blockBytes,
    storeBytes: blocks * blockBytes,
    reserveBytes: 8 * blockBytes,
    cleaner: { ...cleanerDefaults, lookEveryMs: 20, checkpointEveryMs: 100, stepPages: 8 },
  });
  await cluster.createVolume("v", pages * pageBytes);
  return { cluster, ...(await cluster.attach("v")) };
}

function write(volume: AttachedVolume, page: number, value: number): Promise<void> {
  return volume.write(page * pageBytes, Buffer.alloc(pageBytes, value), false);
}

test("[C16] a writer faster than what comes back is slowed down and never refused", async (t) => {
  const { cluster, volume, client } = await open(120, 512);
  t.after(() => client.close());
  const values: number[] = [];
  let next = 0;
  for (; next < livePages; next++) await write(volume, next, (values[next] = next % 250));
  const collector = setInterval(() => void cluster.collect("v"), collectEveryMs);
  t.after(() => clearInterval(collector));
  const writer = async (first: number): Promise<void> => {
    // Each has pages of its own, so that it is known what is there in the end.
    for (let page = first; next < livePages + overwrites; page = (page + 7 * writersAtOnce) % livePages) {
      next += 1;
      await write(volume, page - (page % writersAtOnce) + first, 1);
      values[page - (page % writersAtOnce) + first] = 1;
    }
  };
  const lanes = Array.from({ length: writersAtOnce / 2 }, (_, lane) => writer(lane));
  await Promise.all(lanes);
  const heldBack = client.metrics.counter("torus_volume_held_back_seconds_total", "").value;
  t.diagnostic(`writes were held back for ${heldBack.toFixed(1)} s`);
  assert.ok(heldBack > 0, "the pool was nearly full");
  for (const [page, value] of values.entries()) {
    const found = Buffer.from(await volume.read(page * pageBytes, pageBytes));
    assert.ok(found.equals(Buffer.alloc(pageBytes, value)), `page ${page}`);
  }
});

test("[C16] where nothing can come back a writer is refused, and does not wait", async (t) => {
  const { volume, client } = await open(48, 2048);
  t.after(() => client.close());
  const piece = Buffer.alloc(15 * pageBytes, 1);
  const startedMs = performance.now();
  await assert.rejects(
    async () => {
      for (let at = 0; at < 100; at++) await volume.write(at * piece.length, piece, false);
    },
    (error) => isTorusError(error, "full"),
  );
  assert.ok(performance.now() - startedMs < refusedMsMax);
});
