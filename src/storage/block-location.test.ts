// Where a store says that a block lies in its file: there its bytes are, and the entry is another as soon as they may not be.

import assert from "node:assert/strict";
import { test } from "node:test";
import { blockRefKey, crc32 } from "#model";
import { dataRef, openOn, testDrive } from "./disk-store.fixture.ts";
import { sampleBlock } from "./record.fixture.ts";

const dataFile = "blocks.torus";

async function opened() {
  const drive = testDrive();
  const disk = drive.mount();
  const { store } = await openOn(disk);
  const file = disk.openFile(dataFile, { create: false });
  const bytesAt = (offset: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    file.readSync(bytes, offset);
    return bytes;
  };
  const entryNow = (spot: { entryOffset: number }): Buffer => bytesAt(spot.entryOffset, 64);
  return { store, bytesAt, entryNow };
}

test("a sealed block is in the file, and its entry changes with what the slot holds", async () => {
  const { store, bytesAt, entryNow } = await opened();
  const ref = dataRef(3, { type: 1 });
  const bytes = Buffer.alloc(70_000, "block ");
  await store.put(ref, bytes, crc32(bytes), "write");
  const spot = store.spotOf(ref)!;
  assert.deepEqual(bytesAt(spot.offset, spot.length), bytes);
  assert.deepEqual(entryNow(spot), Buffer.from(spot.entry));

  await store.remove(ref);
  assert.equal(store.spotOf(ref), null);
  assert.notDeepEqual(entryNow(spot), Buffer.from(spot.entry), "freed");
  await store.put(ref, bytes, crc32(bytes), "write");
  assert.equal(
    store.spotOf(ref)!.entryOffset,
    spot.entryOffset,
    `block ${blockRefKey(ref)} is back in its slot`,
  );
  assert.notDeepEqual(entryNow(spot), Buffer.from(spot.entry), "even the same block makes another entry");
});

test("of an open block what was written is in the file", async () => {
  const { store, bytesAt, entryNow } = await opened();
  const ref = dataRef(1);
  const { bytes } = sampleBlock(ref, 3);
  await store.append(ref, 0, bytes, 256 * 1024);
  assert.equal(store.spotOf(ref), null, "it is in memory yet");
  await store.sync([ref]);
  const spot = store.spotOf(ref)!;
  assert.equal(spot.length, bytes.length);
  assert.deepEqual(bytesAt(spot.offset, spot.length), Buffer.from(bytes));
  assert.deepEqual(entryNow(spot), Buffer.from(spot.entry));
  await store.seal(ref, bytes.length, crc32(bytes));
  assert.notDeepEqual(entryNow(spot), Buffer.from(spot.entry));
});
