// DiskStore on a disk that fails: errors of fdatasync and of writes, rot in every part of the file, directories
// that are not its own.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlockRef, ErrorCode } from "#model";
import { crc32, isTorusError, pageBytes } from "#model";
import { SimulatedDrive } from "../sim/disk.ts";
import { SeededRandom } from "../sim/random.ts";
import {
  dataRef,
  metric,
  openOn,
  SteppedClock,
  testBlockBytes,
  testDrive,
  testOptions,
} from "./disk-store.fixture.ts";
import { fenceHalfBytes } from "./fence-log.ts";
import { dataFileName } from "./identity.ts";
import { layoutOf, slotOffset, tableOffset } from "./layout.ts";
import { sampleBlock, samplePage, sampleRecord } from "./record.fixture.ts";

const inodeRef = (index: number): BlockRef => dataRef(index, { type: 1 });
const rejects = (promise: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> =>
  assert.rejects(promise, (error: Error) => {
    assert.ok(isTorusError(error, code), `${code}, not ${error}`);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });

async function appendTo(store: Awaited<ReturnType<typeof openOn>>["store"], ref: BlockRef, records = 2) {
  const block = sampleBlock(ref, records);
  await store.append(ref, 0, block.bytes, testBlockBytes);
  return block;
}

test("an error of fdatasync poisons the store: nothing is durable after it", async () => {
  const drive = testDrive();
  const { store, poisons, metrics } = await openOn(drive.mount());
  const safe = await appendTo(store, dataRef(1));
  await store.sync([dataRef(1)]);
  await appendTo(store, dataRef(2));
  drive.failDataSyncs(1);
  const both = [store.sync([dataRef(2)]), store.sync([dataRef(2)])];
  for (const sync of both) await rejects(sync, "poisoned", /restarted/);
  await rejects(store.sync([dataRef(2)]), "poisoned");
  await rejects(store.append(dataRef(3), 0, sampleBlock(dataRef(3), 1).bytes, testBlockBytes), "poisoned");
  await rejects(store.append(dataRef(2), 0, sampleBlock(dataRef(2), 1).bytes, testBlockBytes), "poisoned");
  await rejects(store.seal(dataRef(1), safe.bytes.length, safe.checksum), "poisoned");
  await rejects(store.put(inodeRef(1), samplePage(1), crc32(samplePage(1)), "repair"), "poisoned");
  await rejects(store.fence(7, 9, 3, 1, null), "poisoned");
  await rejects(store.remove(dataRef(1)), "poisoned");
  const [one, two] = await store.stat([dataRef(1), dataRef(2)]);
  assert.equal(one.durable, safe.bytes.length);
  assert.equal(two.durable, 0);
  assert.equal((await store.read(dataRef(1), 0, 10)).length, 10);
  assert.equal(poisons.length, 1);
  assert.equal(metric(metrics, "torus_storage_poisoned"), 1);
  await store.close();
  drive.cutPower();
  const again = (await openOn(drive.mount())).store;
  assert.equal((await again.stat([dataRef(1)]))[0].durable, safe.bytes.length);
  assert.ok((await again.stat([dataRef(2)]))[0].held <= safe.bytes.length);
});

test("an error of a write poisons the store", async () => {
  const drive = testDrive();
  const { store, poisons } = await openOn(drive.mount());
  await appendTo(store, dataRef(1));
  drive.failWrites(1);
  await rejects(store.sync([dataRef(1)]), "poisoned", /simulated write failed/);
  await rejects(store.sync([dataRef(1)]), "poisoned");
  assert.equal(poisons.length, 1);
});

test("an error under a fence lets it not be answered", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  drive.failDataSyncs(1);
  await rejects(store.fence(7, 5, 4, 1, null), "poisoned");
  await rejects(store.fence(7, 5, 4, 1, null), "poisoned");
});

test("[C1] a seal that waits for the disk finds the fence that came meanwhile", async () => {
  const clock = new SteppedClock();
  const drive = new SimulatedDrive(
    { capacityBytes: 2 ** 30, flushMs: 5 },
    { random: new SeededRandom(1), clock },
  );
  const { store } = await clock.until(openOn(drive.mount(), {}, 1, clock));
  const block = await clock.until(appendTo(store, dataRef(1)));
  await clock.until(store.sync([dataRef(1)]));
  await clock.until(appendTo(store, dataRef(2)));
  const syncing = store.sync([dataRef(2)]);
  const sealing = rejects(store.seal(dataRef(1), block.bytes.length, block.checksum), "fenced");
  await new Promise(setImmediate);
  const report = await clock.until(store.fence(7, 4, 3, 1, null));
  await clock.until(Promise.all([syncing.catch(() => {}), sealing]));
  assert.deepEqual(
    report.blocks.map(({ state }) => state),
    ["open", "open"],
  );
  drive.cutPower();
  const again = (await clock.until(openOn(drive.mount(), {}, 1, clock))).store;
  assert.equal((await again.stat([dataRef(1)]))[0].state, "open");
});

const layout = layoutOf(testBlockBytes, 2 ** 20);

/** File offsets of the entry and the slot of a block that is in the first place of its segment class. */
function entryOf(drive: SimulatedDrive, place: number): number {
  for (let segment = 0; segment * layout.strideBytes < 16 * 2 ** 20; segment++) {
    for (let at = 0; at < layout.slotsMax; at++) {
      const offsets = [0, 1].map((slotClass) => slotOffset(layout, segment, at, slotClass));
      if (offsets.includes(place)) return tableOffset(layout, segment) + at * 64;
    }
  }
  throw new Error(`no slot at ${place} of ${drive.names}`);
}

test("a damaged entry of a log's block: known, nothing held, and repaired by put", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  const ref = dataRef(1);
  const first = sampleRecord(ref, 1, 0, 0, [samplePage(1)], { durableIndex: 1, durableOffset: 8192 });
  await store.append(ref, 0, first.bytes, testBlockBytes);
  await store.seal(ref, first.bytes.length, crc32(first.bytes));
  await appendTo(store, dataRef(2));
  const place = store.placeOf(ref)!;
  await store.close();
  drive.rot(dataFileName, entryOf(drive, place) + 20);
  for (let opens = 0; opens < 2; opens++) {
    const { store: again, lines } = await openOn(drive.mount());
    const [one, two] = await again.stat([ref, dataRef(2)]);
    assert.deepEqual([one.state, one.held, one.damaged, one.cut], ["open", 0, true, true]);
    assert.equal(two.held, 4 * pageBytes);
    const report = await again.fence(7, 4, 3, 1, null);
    assert.deepEqual([report.durableIndex, report.durableOffset], [1, 8192]);
    if (opens === 0) assert.ok(lines.some(({ level }) => level === "error"));
    else await again.put(ref, first.bytes, crc32(first.bytes), "repair");
    await again.close();
  }
  const { store: healed } = await openOn(drive.mount());
  assert.equal((await healed.stat([ref]))[0].state, "sealed");
  assert.equal((await healed.usage()).blocks, 2);
});

test("a damaged entry whose block is not known: the slot is set aside, the rest lives", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  for (const index of [1, 2])
    await store.put(inodeRef(index), samplePage(index), crc32(samplePage(index)), "write");
  const place = store.placeOf(inodeRef(1))!;
  await store.close();
  drive.rot(dataFileName, entryOf(drive, place));
  const { store: again } = await openOn(drive.mount());
  assert.deepEqual(
    (await again.list(null, 10)).blocks.map(({ ref }) => ref.index),
    [2],
  );
  await again.put(inodeRef(1), samplePage(1), crc32(samplePage(1)), "repair");
  assert.notEqual(again.placeOf(inodeRef(1)), place);
  await again.close();
});

test("damaged segment headers lose nothing", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  const block = await appendTo(store, dataRef(1));
  await store.put(inodeRef(1), samplePage(1), crc32(samplePage(1)), "write");
  await store.close();
  const segments = Math.floor((16 * 2 ** 20) / layout.strideBytes);
  const header = (segment: number): Uint8Array =>
    drive.peek(dataFileName, segment * layout.strideBytes, pageBytes);
  for (let segment = 0; segment < segments && header(segment)[0] !== 0; segment++) {
    drive.rot(dataFileName, segment * layout.strideBytes + 3);
    drive.rot(dataFileName, segment * layout.strideBytes + pageBytes - 500);
  }
  for (let opens = 0; opens < 2; opens++) {
    const { store: again, lines } = await openOn(drive.mount());
    const [one, inode] = await again.stat([dataRef(1), inodeRef(1)]);
    assert.deepEqual([one.held, inode.held], [block.bytes.length, pageBytes]);
    assert.equal(
      lines.some(({ message }) => /header was damaged/.test(message)),
      opens === 0,
    );
    await again.close();
  }
});

test("rot in a sealed copy: put verifies before it trusts, and replaces", async () => {
  const drive = testDrive();
  const { store, metrics } = await openOn(drive.mount());
  const block = await appendTo(store, dataRef(1));
  await store.seal(dataRef(1), block.bytes.length, block.checksum);
  const place = store.placeOf(dataRef(1))!;
  drive.rot(dataFileName, place + 5000);
  assert.equal((await store.stat([dataRef(1)]))[0].state, "sealed");
  await store.put(dataRef(1), block.bytes, block.checksum, "repair");
  assert.notEqual(store.placeOf(dataRef(1)), place);
  assert.equal(metric(metrics, "torus_storage_failed_blocks"), 1);
  assert.deepEqual(
    Buffer.from(await store.read(dataRef(1), 0, block.bytes.length)),
    Buffer.from(block.bytes),
  );
  await store.close();
});

test("a torn tail and old bytes of a reused slot are told from rot", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  await appendTo(store, dataRef(1), 8);
  await store.sync([dataRef(1)]);
  const place = store.placeOf(dataRef(1));
  await store.remove(dataRef(1));
  const block = await appendTo(store, dataRef(2), 2);
  await store.sync([dataRef(2)]);
  assert.equal(store.placeOf(dataRef(2)), place, "the slot is used again");
  await store.close();
  const reused = await openOn(drive.mount());
  const [clean] = await reused.store.stat([dataRef(2)]);
  assert.deepEqual([clean.held, clean.damaged], [block.bytes.length, false]);
  await reused.store.close();
  drive.rot(dataFileName, place! + block.offsets[1] + pageBytes);
  const torn = await openOn(drive.mount());
  const [status] = await torn.store.stat([dataRef(2)]);
  assert.deepEqual([status.held, status.damaged], [block.offsets[1], true]);
  await torn.store.close();
});

test("a fence survives one bad copy; with both the store does not open", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  await store.fence(7, 5, 4, 1, null);
  // As if killed: what a clean close would change nothing about stays in the log.
  drive.killProcess();
  drive.rot("fences.log", 10);
  const { store: again } = await openOn(drive.mount());
  await rejects(again.fence(7, 4, 3, 1, null), "fenced");
  drive.killProcess();
  drive.rot("fences.log", fenceHalfBytes + 10);
  await rejects(openOn(drive.mount()), "corrupt", /fence/);
  drive.rot("fences.log", 10);
  drive.setText("fences.json", drive.text("fences.json")!.replace("5", "4"));
  await rejects(openOn(drive.mount()), "corrupt");
  drive.setText("fences.json", null);
  await rejects(openOn(drive.mount()), "corrupt", /fences\.json is missing/);
});

test("a store is open once", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  await rejects(openOn(drive.mount()), "busy");
  await store.close();
  await (await openOn(drive.mount())).store.close();
});

test("what is not a store, or another's, is left alone", async () => {
  const drive = testDrive();
  drive.setText("photo.jpg", "x");
  await rejects(openOn(drive.mount()), "invalid-argument", /not a Torus store.*photo\.jpg/);
  drive.setText("photo.jpg", null);
  const { store } = await openOn(drive.mount());
  assert.equal(store.incarnation, 1);
  await store.close();
  const identity = drive.text("identity.json")!;
  drive.setText("identity.json", identity.replace('"format": 1', '"format": 2'));
  await rejects(openOn(drive.mount()), "unsupported", /format 2/);
  drive.setText("identity.json", identity.slice(0, 40));
  await rejects(openOn(drive.mount()), "corrupt", /identity\.json/);
  drive.setText("identity.json", null);
  await rejects(openOn(drive.mount()), "invalid-argument", /blocks\.torus/);
  drive.setText("identity.json", identity);
  await rejects(openOn(drive.mount(), { blockBytes: 512 * 1024 }), "invalid-argument", /another cluster/);
  const { store: again } = await openOn(drive.mount());
  assert.equal(again.incarnation, 2);
  assert.equal(again.peer, store.peer);
  await again.close();
  drive.removeFile(dataFileName);
  await rejects(openOn(drive.mount()), "corrupt", /blocks\.torus is missing/);
});

test("a store grows; it shrinks only to what is laid out", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  for (let index = 5; index < 25; index++) await appendTo(store, dataRef(index));
  await store.close();
  await rejects(openOn(drive.mount(), { sizeBytes: 2 ** 21 }), "invalid-argument", /cannot shrink/);
  const { store: larger } = await openOn(drive.mount(), { sizeBytes: 2 * testOptions.sizeBytes });
  assert.equal((await larger.usage()).sizeBytes, 2 * testOptions.sizeBytes);
  await larger.close();
  await (await openOn(drive.mount())).store.close();
  await rejects(openOn(testDrive().mount(), { sizeBytes: 1000 }), "invalid-argument", /too small/);
});

test("a store whose making was cut short is made again", async () => {
  for (let after = 0; after < 6; after++) {
    const drive = testDrive();
    const opening = openOn(drive.mount());
    for (let turn = 0; turn < after; turn++) await Promise.resolve();
    drive.cutPower();
    await opening.catch(() => {});
    const { store } = await openOn(drive.mount());
    await appendTo(store, dataRef(1));
    await store.sync([dataRef(1)]);
    await store.close();
  }
});

test("syncs that come together share an fdatasync", async () => {
  const drive = testDrive();
  const { store, metrics } = await openOn(drive.mount());
  const refs = Array.from({ length: 20 }, (_, i) => dataRef(i + 1));
  for (const ref of refs) await appendTo(store, ref);
  const before = metric(metrics, "torus_storage_flushes");
  const answers = await Promise.all(refs.map((ref) => store.sync([ref])));
  for (const [progress] of answers) assert.equal(progress.durable, 4 * pageBytes);
  assert.equal(metric(metrics, "torus_storage_flushes"), before + 2);
  await store.close();
});

test("a fence outlives any number of restarts", async () => {
  const drive = testDrive();
  for (let volume = 1; volume <= 5; volume++) {
    const { store } = await openOn(drive.mount());
    await store.fence(volume, 5, 4, 1, null);
    drive.cutPower();
  }
  const { store } = await openOn(drive.mount());
  for (let volume = 1; volume <= 5; volume++) await rejects(store.fence(volume, 4, 3, 1, null), "fenced");
  await store.close();
});

test("fences by the thousand are folded and found again", async () => {
  const drive = testDrive();
  const { store } = await openOn(drive.mount());
  const volumes = 5000;
  for (const epoch of [2, 3, 4, 5]) {
    await Promise.all(Array.from({ length: volumes }, (_, i) => store.fence(i + 1, epoch, 1, 1, null)));
  }
  drive.cutPower();
  const { store: again } = await openOn(drive.mount());
  for (let volume = 1; volume <= volumes; volume += 7)
    await rejects(again.fence(volume, 4, 3, 1, null), "fenced");
  await again.close();
});
