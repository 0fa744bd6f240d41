// Reader: whom it believes that a block is gone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "#host";
import type { BlockRef, PeerId } from "#model";
import { crc32, isTorusError, pageBytes } from "#model";
import { MemoryStore } from "#storage";
import { silentLog } from "../peer/loopback.fixture.ts";
import { SimClock } from "../sim/clock.ts";
import { Reader, readerDefaults } from "./reader.ts";

const ref: BlockRef = { type: 0, volume: 1, epoch: 1, index: 1 };
const page = new Uint8Array(pageBytes).fill(7);
const sums = Uint32Array.of(crc32(page));

function bench() {
  const clock = new SimClock();
  const stores = new Map<PeerId, MemoryStore>();
  const store = (peer: PeerId): MemoryStore => {
    const made = stores.get(peer) ?? new MemoryStore({ peer, sizeBytes: 2 ** 20 });
    stores.set(peer, made);
    return made;
  };
  const cluster = {
    peers: ["a", "d"],
    version: 1,
    isAway: false,
    rounds: 0,
    /** Called when the reader looks for the newest ring: between its rounds. */
    between: async (): Promise<void> => {},
  };
  const reader = new Reader(readerDefaults, {
    storeOf: store,
    candidatesOf: () => cluster.peers,
    refresh: async () => {
      cluster.rounds += 1;
      if (cluster.isAway) throw new Error("away");
      const { version } = cluster;
      await cluster.between();
      return version;
    },
    replicas: () => 1,
    onBadCopy: () => {},
    clock,
    log: silentLog,
    metrics: new Metrics(),
  });
  return { clock, store, cluster, reader };
}

const isGone = (error: unknown): boolean => isTorusError(error, "corrupt");

test("reader: a block that moves while it is looked for is found", async () => {
  const { clock, store, cluster, reader } = bench();
  cluster.between = () => store("d").put(ref, page, crc32(page), "repair");
  assert.deepEqual(await clock.run(reader.readPages(ref, 0, pageBytes, sums)), page);
});

test("reader: a block is gone when all say so twice, by one ring", async () => {
  const { clock, cluster, reader } = bench();
  await assert.rejects(clock.run(reader.readPages(ref, 0, pageBytes, sums)), isGone);
  assert.equal(cluster.rounds, 2);
});

test("reader: a ring that changed meanwhile is asked twice again, with the peers it brought", async () => {
  const { clock, store, cluster, reader } = bench();
  cluster.between = async () => {
    if (cluster.rounds !== 2) return;
    cluster.version = 2;
    cluster.peers = ["a", "d", "e"];
  };
  const gone = clock.run(reader.readPages(ref, 0, pageBytes, sums));
  await assert.rejects(gone, isGone);
  cluster.rounds = 1;
  await store("e").put(ref, page, crc32(page), "repair");
  assert.deepEqual(await clock.run(reader.readPages(ref, 0, pageBytes, sums)), page);
});

test("reader: while nobody can say which ring is the newest, nothing is gone", async () => {
  const { clock, store, cluster, reader } = bench();
  cluster.isAway = true;
  const read = reader.readPages(ref, 0, pageBytes, sums);
  await clock.advance(5000);
  cluster.isAway = false;
  await store("a").put(ref, page, crc32(page), "repair");
  assert.deepEqual(await clock.run(read), page);
});
