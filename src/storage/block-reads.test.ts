// Reads that wait for the disk: what may happen to a block meanwhile, what is brought in beside what was asked for, and that many
// reads of one place wait for it together.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Disk, DiskFile } from "#host";
import type { BlockRef } from "#model";
import { crc32, isTorusError, pageBytes } from "#model";
import { dataRef, metric, openOn, testBlockBytes, testDrive } from "./disk-store.fixture.ts";
import type { DiskStore } from "./disk-store.ts";
import { warmPartBytes } from "./warm-parts.ts";

/** A disk whose file brings nothing in before it is told to. */
function slowDisk(disk: Disk): { disk: Disk; asked: { offset: number; length: number }[]; goOn: () => void } {
  const asked: { offset: number; length: number }[] = [];
  let waiting: (() => void)[] = [];
  const slowed = (file: DiskFile): DiskFile =>
    new Proxy(file, {
      get: (target, key) => {
        if (key === "bringIn") {
          return (offset: number, length: number) => {
            asked.push({ offset, length });
            return new Promise<void>((resolve) => waiting.push(resolve));
          };
        }
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  const openFile: Disk["openFile"] = (name, options) => slowed(disk.openFile(name, options));
  const slow = new Proxy(disk, {
    get: (target, key) => {
      if (key === "openFile") return openFile;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const goOn = (): void => {
    const all = waiting;
    waiting = [];
    for (const resolve of all) resolve();
  };
  return { disk: slow, asked, goOn };
}

const bytes = Buffer.from(Array.from({ length: testBlockBytes }, (_, i) => (i * 7 + (i >> 9)) & 255));
const place = (offset: number, length: number): Buffer => bytes.subarray(offset, offset + length);

async function opened(cachedBytesMax?: number) {
  const drive = testDrive();
  const slow = slowDisk(drive.mount());
  const options = cachedBytesMax === undefined ? {} : { cachedBytesMax };
  const { store, metrics } = await openOn(slow.disk, options);
  const ref = dataRef(9, { type: 1 });
  await store.put(ref, bytes, crc32(bytes), "write");
  return { ...slow, drive, store, metrics, ref };
}

/** Reads to the end. */
async function readNow(
  store: DiskStore,
  goOn: () => void,
  ref: BlockRef,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const reading = store.read(ref, offset, length);
  goOn();
  return reading;
}

test("what is not known to be in memory is brought in with its neighbours, and what is, is read at once", async () => {
  const { store, metrics, ref, asked, goOn } = await opened();
  const start = store.placeOf(ref)!;
  assert.deepEqual(
    Buffer.from(await readNow(store, goOn, ref, 5 * pageBytes, pageBytes)),
    place(5 * pageBytes, pageBytes),
  );
  assert.deepEqual(asked, [{ offset: start, length: warmPartBytes }]);
  for (const page of [0, 5, 15]) {
    const read = await store.read(ref, page * pageBytes, pageBytes);
    assert.deepEqual(Buffer.from(read), place(page * pageBytes, pageBytes));
  }
  assert.equal(asked.length, 1);
  assert.equal(metric(metrics, "torus_storage_cold_reads"), 1);
  // Somebody reads on: more at once.
  await readNow(store, goOn, ref, warmPartBytes, pageBytes);
  assert.deepEqual(asked[1], { offset: start + warmPartBytes, length: testBlockBytes - warmPartBytes });
  await store.close();
});

test("reads of one place wait for it together, each with its own bytes", async () => {
  const { store, ref, asked, goOn } = await opened();
  const reads = [1, 2, 3].map((page) => store.read(ref, page * pageBytes, pageBytes));
  assert.equal(asked.length, 1);
  goOn();
  for (const [index, read] of (await Promise.all(reads)).entries())
    assert.deepEqual(Buffer.from(read), place((index + 1) * pageBytes, pageBytes));
  await store.close();
});

test("a block that moves or goes while the disk is waited for is read where it is, or not at all", async () => {
  const { store, ref, drive, goOn } = await opened();
  const moved = store.read(ref, 0, pageBytes);
  const before = store.placeOf(ref)!;
  drive.rot("blocks.torus", before + 10);
  await store.put(ref, bytes, crc32(bytes), "repair");
  assert.notEqual(store.placeOf(ref), before);
  goOn();
  assert.deepEqual(Buffer.from(await moved), place(0, pageBytes));

  const gone = store.read(ref, 2 * warmPartBytes, pageBytes);
  await store.remove(ref);
  goOn();
  await assert.rejects(gone, (error) => isTorusError(error, "not-found"));

  await store.put(ref, bytes, crc32(bytes), "write");
  const late = store.read(ref, 3 * warmPartBytes, pageBytes);
  await store.close();
  goOn();
  await assert.rejects(late, (error) => isTorusError(error, "closed"));
});

test("bytes written where something was warm are read from the disk", async () => {
  const { store, metrics, ref, goOn } = await opened();
  await readNow(store, goOn, ref, 0, pageBytes);
  const slot = store.placeOf(ref);
  await store.remove(ref);
  const next = dataRef(11, { type: 1 });
  const others = Buffer.alloc(testBlockBytes, 9);
  await store.put(next, others, crc32(others), "write");
  assert.equal(store.placeOf(next), slot, "the slot is used again");
  assert.equal((await readNow(store, goOn, next, 0, pageBytes))[0], 9);
  assert.equal(metric(metrics, "torus_storage_cold_reads"), 2);
  await store.close();
});

test("where there is no room for what is read, nothing is read beside it", async () => {
  const { store, asked, goOn } = await opened(warmPartBytes);
  const refs = Array.from({ length: 12 }, (_, i) => dataRef(20 + i, { type: 1 }));
  for (const ref of refs) await store.put(ref, bytes, crc32(bytes), "write");
  const rounds = 30;
  for (let i = 0; i < rounds * refs.length; i++)
    await readNow(store, goOn, refs[i % refs.length], warmPartBytes + pageBytes, pageBytes);
  assert.equal(asked[0].length, warmPartBytes);
  assert.equal(asked.at(-1)!.length, pageBytes);
  await store.close();
});
