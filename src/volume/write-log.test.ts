// The bytes of records: golden, framed as peers see them, and what they do to a map when they are replayed.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlockRef } from "#model";
import { blockType, crc32, decodeRecordFrame, pageBytes, verifyRecords } from "#model";
import { BlockTable } from "./block-table.ts";
import { ExtentMap } from "./extent-map.ts";
import {
  decodeOldPlace,
  decodePageEntry,
  movedPagesMax,
  recordKind,
  recordPagesMax,
} from "./record-codec.ts";
import { eachPage, replayBlock } from "./replay.ts";
import { WriteLog } from "./write-log.ts";

const blockPages = 600;
const ref = (index: number, epoch = 3): BlockRef => ({ type: blockType.data, volume: 7, epoch, index });
const page = (value: number): Uint8Array => new Uint8Array(pageBytes).fill(value);
const durable = { index: 1, offset: 4096 };

function openLog() {
  const log = new WriteLog({ sequence: 4, previous: 99, position: 0 });
  const block = log.open(ref(2), 1, new Uint8Array(blockPages * pageBytes));
  return { log, block };
}

function openMap() {
  const table = new BlockTable();
  const readNode = () => Promise.reject(new Error("nothing is stored"));
  const map = new ExtentMap({ top: null, cacheBytes: 1024 * 1024 }, { table, readNode });
  return { table, map };
}

test("golden bytes: the headers of a data and of a moved record never change silently", () => {
  const { log, block } = openLog();
  log.addPage(17, page(1), 0);
  log.closeRecord(1234, durable);
  log.addPage(18, page(2), 0, { ref: ref(9, 2), offset: 300 });
  log.closeRecord(1234, durable);
  const sums = [0, 2].map((at) => crc32(block.buffer.subarray(at * pageBytes, (at + 1) * pageBytes)));
  assert.deepEqual(
    sums.map((sum) => sum.toString(16)),
    ["8cc62cdb", "41a341f1"],
  );
});

test("moved pages and new ones are in records of their own, which verify and give back the old places", () => {
  const { log, block } = openLog();
  const moved = movedPagesMax + 10;
  log.addPage(1000, page(0), 0);
  assert.ok(!log.recordHasRoom(true), "a moved page needs a record of its own");
  log.closeRecord(1, durable);
  for (let i = 0; i < moved; i++) {
    if (!log.recordHasRoom(true)) log.closeRecord(1, durable);
    const room = log.roomPages(true);
    log.addPage(i, page(i % 251), 0, { ref: ref(i, 2), offset: i + 1 });
    assert.ok(log.roomPages(true) < room);
  }
  assert.ok(!log.recordHasRoom(false));
  log.closeRecord(1, durable);
  const bytes = block.buffer.subarray(0, block.length);
  assert.equal(block.length, (1 + 1 + (1 + movedPagesMax) + (1 + 10)) * pageBytes);
  const verified = verifyRecords(bytes, block.ref, 0, 0, null);
  assert.equal(verified.length, block.length);
  assert.equal(verified.blockChecksum, block.checksum);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const frame = decodeRecordFrame(bytes, at);
    assert.ok(frame !== null);
    for (let i = 0; i < frame.pages && frame.kind === recordKind.moved; i++) {
      const { page: number } = decodePageEntry(view, at, i);
      assert.deepEqual(decodeOldPlace(view, at, i), { ref: ref(number, 2), offset: number + 1 });
      found.push(number);
    }
    at += frame.lengthBytes;
  }
  assert.deepEqual(
    found,
    Array.from({ length: moved }, (_, i) => i),
  );
  let pages = 0;
  eachPage(bytes, () => {
    pages += 1;
  });
  assert.equal(pages, moved + 1);
});

test("a record takes as many pages as its header page has room for, and a block no more than it holds", () => {
  const { log } = openLog();
  for (let i = 0; i < recordPagesMax; i++) log.addPage(i, page(1), 0);
  assert.ok(!log.recordHasRoom(false));
  log.closeRecord(1, durable);
  while (log.roomPages(true) > 0) {
    if (!log.recordHasRoom(true)) log.closeRecord(1, durable);
    if (log.roomPages(true) > 0) log.addPage(log.roomPages(true), page(1), 0, { ref: ref(1), offset: 1 });
  }
  log.closeRecord(1, durable);
  assert.ok(log.position <= blockPages * pageBytes);
});

test("[C17] a moved page is replayed only if the map still has it where it was", async () => {
  const { table, map } = openMap();
  const old = table.add(ref(1));
  const other = table.add(ref(5));
  map.set(10, old, 3, 111);
  map.set(11, other, 3, 222);
  map.set(12, old, 4, 333);
  const { log, block } = openLog();
  log.addPage(10, page(1), 0, { ref: ref(1), offset: 3 });
  log.addPage(11, page(2), 0, { ref: ref(1), offset: 3 });
  log.addPage(12, page(3), 0, { ref: ref(1), offset: 5 });
  log.addPage(13, page(4), 0, { ref: ref(1), offset: 6 });
  log.addPage(14, page(5), 0, { ref: ref(77), offset: 1 });
  log.closeRecord(1, durable);
  const id = table.add(ref(2));
  // Twice: replaying what is there changes nothing.
  for (let i = 0; i < 2; i++) {
    await replayBlock(map, table, id, block.buffer.subarray(0, block.length), 100);
    const leaf = await map.load(0);
    assert.deepEqual([...leaf.ids.subarray(10, 15)], [id, other, old, 0, 0]);
    assert.deepEqual([...leaf.offsets.subarray(10, 13)], [1, 3, 4]);
  }
  assert.equal(table.liveOf(id), 1);
  assert.equal(table.liveOf(old), 1);
});
