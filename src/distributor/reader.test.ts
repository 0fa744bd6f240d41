// Reader: whom it believes that a block is gone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "#host";
import type { BlockRef, BlockStore, NearReads, PeerId, TakeMemory } from "#model";
import { crc32, isTorusError, pageBytes } from "#model";
import { MemoryStore } from "#storage";
import { silentLog } from "../peer/loopback.fixture.ts";
import { SimClock } from "../sim/clock.ts";
import { Reader, readerDefaults } from "./reader.ts";

const ref: BlockRef = { type: 0, volume: 1, epoch: 1, index: 1 };
const page = new Uint8Array(pageBytes).fill(7);
const sums = Uint32Array.of(crc32(page));

function bench(replicas = 1) {
  const clock = new SimClock();
  const stores = new Map<PeerId, BlockStore>();
  const store = (peer: PeerId): BlockStore => {
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
    replicas: () => replicas,
    onBadCopy: () => {},
    clock,
    log: silentLog,
    metrics: new Metrics(),
  });
  return { clock, store, stores, cluster, reader };
}

const isGone = (error: unknown): boolean => isTorusError(error, "corrupt");

test("reader: a block that moves while it is looked for is found", async () => {
  const { clock, store, cluster, reader } = bench();
  cluster.between = () => store("d").put(ref, page, crc32(page), "repair");
  assert.deepEqual(await clock.run(reader.readPages(ref, 0, 1, sums, 0)), page);
});

test("reader: a block is gone when all say so twice, by one ring", async () => {
  const { clock, cluster, reader } = bench();
  await assert.rejects(clock.run(reader.readPages(ref, 0, 1, sums, 0)), isGone);
  assert.equal(cluster.rounds, 2);
});

test("reader: a ring that changed meanwhile is asked twice again, with the peers it brought", async () => {
  const { clock, store, cluster, reader } = bench();
  cluster.between = async () => {
    if (cluster.rounds !== 2) return;
    cluster.version = 2;
    cluster.peers = ["a", "d", "e"];
  };
  const gone = clock.run(reader.readPages(ref, 0, 1, sums, 0));
  await assert.rejects(gone, isGone);
  cluster.rounds = 1;
  await store("e").put(ref, page, crc32(page), "repair");
  assert.deepEqual(await clock.run(reader.readPages(ref, 0, 1, sums, 0)), page);
});

test("reader: while nobody can say which ring is the newest, nothing is gone", async () => {
  const { clock, store, cluster, reader } = bench();
  cluster.isAway = true;
  const read = reader.readPages(ref, 0, 1, sums, 0);
  await clock.advance(5000);
  cluster.isAway = false;
  await store("a").put(ref, page, crc32(page), "repair");
  assert.deepEqual(await clock.run(read), page);
});

/** A store on this machine, and what it was asked. */
function nearBy(store: BlockStore, bytes: { now: Uint8Array | null }) {
  const asked = { near: 0, peer: 0, distrusted: 0 };
  const near: NearReads = {
    has: () => bytes.now !== null,
    readNow: (_ref, _offset, length, take) => {
      asked.near += 1;
      const { now } = bytes;
      if (now === null) return null;
      const target = take(length);
      target.set(now);
      return target;
    },
    distrust: () => {
      asked.distrusted += 1;
    },
  };
  const passing = new Proxy(store, {
    get: (target, key) => {
      if (key === "near") return near;
      if (key === "read") asked.peer += 1;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { store: passing, asked };
}

test("a store on this machine is asked before others, and once it has answered its file is read, verified", async () => {
  const { clock, store, reader, cluster, stores } = bench(2);
  cluster.peers = ["a", "d"];
  for (const peer of cluster.peers) await store(peer).put(ref, page, crc32(page), "repair");
  const bytes: { now: Uint8Array | null } = { now: null };
  const local = nearBy(store("a"), bytes);
  stores.set("a", local.store);
  const take = (length: number): Uint8Array => new Uint8Array(length);
  assert.equal(reader.readPagesNow(ref, 0, 1, sums, 0, take), null);
  // By turns it would be the other one.
  assert.equal(ref.index % 2, 1);
  assert.deepEqual(await clock.run(reader.readPages(ref, 0, 1, sums, 0)), page);
  assert.deepEqual(local.asked, { near: 0, peer: 1, distrusted: 0 });
  assert.equal(reader.readPagesNow(ref, 0, 1, sums, 0, take), null, "not at once");
  bytes.now = page;
  assert.deepEqual(reader.readPagesNow(ref, 0, 1, sums, 0, take), page);
  bytes.now = new Uint8Array(pageBytes).fill(8);
  assert.equal(reader.readPagesNow(ref, 0, 1, sums, 0, take), null, "wrong bytes are not handed on");
  assert.equal(local.asked.distrusted, 1);
});

test("a peer that is late writes into memory of its own", async () => {
  const { clock, store, reader, cluster, stores } = bench();
  cluster.peers = ["a", "d"];
  await store("d").put(ref, page, crc32(page), "repair");
  let late: Uint8Array | null = null;
  const slow: BlockStore = new Proxy(store("a"), {
    get: (target, key) => {
      if (key !== "read") return Reflect.get(target, key, target);
      return (_ref: BlockRef, _offset: number, length: number, take: TakeMemory) => {
        late = take(length);
        return new Promise<Uint8Array>(() => {});
      };
    },
  });
  stores.set("a", slow);
  const taken: Uint8Array[] = [];
  const take = (length: number): Uint8Array => {
    const memory = new Uint8Array(length);
    taken.push(memory);
    return memory;
  };
  const bytes = await clock.run(reader.readPages(ref, 0, 1, sums, 0, take));
  assert.ok(late !== null && taken[0] === late);
  (late as Uint8Array).fill(0xdb);
  assert.deepEqual(bytes, page);
});

test("who may be on this machine, for all that is known, has its turn beside those who are", async () => {
  const { clock, store, reader, cluster, stores } = bench(2);
  cluster.peers = ["a", "d"];
  for (const peer of cluster.peers) await store(peer).put(ref, page, crc32(page), "repair");
  const local = nearBy(store("a"), { now: null });
  stores.set("a", local.store);
  let near: null | undefined = null;
  const unknown = new Proxy(store("d"), {
    get: (target, key) => {
      if (key === "near") return near;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  stores.set("d", unknown);
  await clock.run(reader.readPages(ref, 0, 1, sums, 0));
  assert.equal(local.asked.peer, 0, "it is the other's turn");
  near = undefined;
  await clock.run(reader.readPages(ref, 0, 1, sums, 0));
  assert.equal(local.asked.peer, 1);
});
