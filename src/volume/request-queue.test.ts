// RequestQueue: the moves of the cleaner, which must never put a page where something newer is [C17].

import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "#host";
import type { BlockRef } from "#model";
import { blockType, isTorusError, pageBytes, TorusError } from "#model";
import { BlockTable } from "./block-table.ts";
import { ExtentMap } from "./extent-map.ts";
import type { LogWriter } from "./log-writer.ts";
import type { MovedPage } from "./queued-job.ts";
import type { LogPlace } from "./record-codec.ts";
import { RequestQueue } from "./request-queue.ts";

const ref = (index: number): BlockRef => ({ type: blockType.data, volume: 7, epoch: 3, index });
const bytes = new Uint8Array(pageBytes).fill(1);

/** As much of a log as the queue uses: places in block `id`, up to `room` pages. */
class PageLog {
  readonly appended: { readonly page: number; readonly from: LogPlace | null }[] = [];
  readonly #id: number;
  room = 100;
  isFull = false;
  exhaustion: TorusError | null = null;

  constructor(id: number) {
    this.#id = id;
  }

  get roomPages(): number {
    return this.room;
  }

  get position(): number {
    return this.appended.length;
  }

  makeRoom(): boolean {
    return this.room > 0;
  }

  isGathering(): boolean {
    return false;
  }

  readonly ranges: number[] = [];

  makeRoomForRange(): boolean {
    return true;
  }

  appendRange(first: number): void {
    this.ranges.push(first);
  }

  appendPage(page: number, _source: Uint8Array, _offset: number, from: LogPlace | null = null) {
    this.appended.push({ page, from });
    this.room -= 1;
    return { id: this.#id, offset: this.appended.length, checksum: 5 };
  }
}

function open() {
  const table = new BlockTable();
  const readNode = () => Promise.reject(new Error("nothing is stored"));
  const map = new ExtentMap({ top: null, cacheBytes: 1024 * 1024 }, { table, readNode });
  const old = table.add(ref(1));
  const log = new PageLog(table.add(ref(100)));
  const pace = {
    pages: Number.POSITIVE_INFINITY,
    allowedPages: () => pace.pages,
    took: (pages: number) => void (pace.pages -= pages),
    isComing: false,
    awaitsSpace: () => pace.isComing,
  };
  const queue = new RequestQueue({
    map,
    table,
    log: log as unknown as LogWriter,
    readPage: () => Promise.resolve(bytes),
    pace,
    metrics: new Metrics(),
  });
  const moved = (page: number, offset: number): MovedPage => ({
    page,
    id: old,
    from: { ref: ref(1), offset },
    bytes,
  });
  return { table, map, old, log, queue, moved, pace };
}

test("[C17] pages still where they were are moved, all others are left", async () => {
  const { map, old, log, queue, moved } = open();
  map.set(1, old, 1, 0);
  map.set(2, old, 2, 0);
  map.set(3, old, 9, 0);
  const outcome = await queue.clean([moved(1, 1), moved(2, 2), moved(3, 3), moved(4, 4)]);
  assert.equal(outcome.moved, 2);
  assert.deepEqual(
    log.appended.map(({ page, from }) => [page, from?.offset]),
    [
      [1, 1],
      [2, 2],
    ],
  );
});

test("[C17] a write that waits in line before a move wins", async () => {
  const { map, old, log, queue, moved } = open();
  map.set(1, old, 1, 0);
  log.room = 0;
  const write = queue.write(1, bytes);
  const clean = queue.clean([moved(1, 1)]);
  log.room = 10;
  queue.drain();
  await write;
  assert.equal((await clean).moved, 0);
  assert.deepEqual(log.appended, [{ page: 1, from: null }]);
});

test("[C17] an id that was given to another block meanwhile is not the old place", async () => {
  const { table, map, old, log, queue, moved } = open();
  map.set(1, old, 1, 0);
  table.leave(old, pageBytes * 2, 7);
  map.set(1, 0, 0, 0);
  const reused = table.add(ref(50));
  assert.equal(reused, old, "the id is given again");
  map.set(1, reused, 1, 0);
  assert.equal((await queue.clean([moved(1, 1)])).moved, 0);
  assert.deepEqual(log.appended, []);
});

test("a page whose leaf is not loaded, or which is being merged, is undecided, and nobody waits for it", async () => {
  const { map, old, log, queue, moved } = open();
  map.set(1, old, 1, 0);
  const merge = queue.merge(1, 0, bytes.subarray(0, 10));
  const outcome = await queue.clean([moved(1, 1)]);
  assert.equal(outcome.undecided.length, 1);
  await merge;
  assert.deepEqual(log.appended, [{ page: 1, from: null }]);
});

test("[C16] on a full pool moves go on and writes fail; when it is exhausted all fail", async () => {
  const { map, old, log, queue, moved } = open();
  map.set(1, old, 1, 0);
  log.isFull = true;
  await assert.rejects(Promise.resolve(queue.write(5, bytes)), (error) => isTorusError(error, "full"));
  await assert.rejects(queue.merge(5, 0, bytes.subarray(0, 9)) as Promise<number>, (error) =>
    isTorusError(error, "full"),
  );
  assert.equal((await queue.clean([moved(1, 1)])).moved, 1);
  log.exhaustion = new TorusError("full", "nothing is left");
  await assert.rejects(queue.clean([moved(1, 1)]), (error) => isTorusError(error, "full"));
});

test("a write that is slowed down goes in as far as it may; cleaning passes it, and what comes later waits behind it", async () => {
  const { map, old, log, queue, moved, pace } = open();
  map.set(9, old, 9, 0);
  pace.pages = 1;
  const write = queue.write(1, new Uint8Array(3 * pageBytes));
  assert.equal(log.appended.length, 1);
  queue.drain();
  assert.equal(log.appended.length, 1);
  assert.ok(!queue.isWaiting, "nobody who cleans need make way for it");
  const later = queue.write(5, bytes);
  assert.equal((await queue.clean([moved(9, 9)])).moved, 1);
  assert.deepEqual(
    log.appended.map(({ page }) => page),
    [1, 9],
  );
  pace.pages = Number.POSITIVE_INFINITY;
  queue.drain();
  await Promise.all([write, later]);
  assert.deepEqual(
    log.appended.map(({ page }) => page),
    [1, 9, 2, 3, 5],
  );
});

test("[C16] on a full pool data waits while space is on its way; trims pass it but for those of its own pages", async () => {
  const { log, queue, pace } = open();
  log.isFull = true;
  pace.isComing = true;
  const write = Promise.resolve(queue.write(1, bytes));
  const same = queue.zero(1, 1);
  await queue.zero(8, 1);
  assert.deepEqual(log.ranges, [8]);
  log.isFull = false;
  queue.drain();
  await Promise.all([write, same]);
  assert.deepEqual([log.appended.map(({ page }) => page), log.ranges], [[1], [8, 1]]);
});
