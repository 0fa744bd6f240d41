// The part of the suite of every BlockDevice that is about extents: what is told as a hole reads as zeroes, and what has content is told so.

import assert from "node:assert/strict";
import { isTorusError, pageBytes } from "#model";
import type { BlockDevice, Extent } from "./block-device.ts";

/** Keeps what the device has now. */
interface Keeper {
  takeSnapshot(name: string): Promise<unknown>;
}

const p = pageBytes;
const workPages = 1024;

/** A device that is empty is one hole, however often it is asked. */
export async function emptyDevice(device: BlockDevice): Promise<void> {
  const { sizeBytes } = device.info;
  assert.deepEqual(await device.extents(0, sizeBytes, 100), [{ length: sizeBytes, marked: false }]);
  assert.deepEqual(await device.extents(5, 7, 1), [{ length: 7, marked: false }]);
  for (const offset of [0, 5, sizeBytes]) assert.deepEqual(await device.extents(offset, 0, 1), []);
}

/** To the byte at the ends, and no more than were asked for. */
export async function extentsOfParts(device: BlockDevice): Promise<void> {
  const { sizeBytes } = device.info;
  await device.write(2 * p, new Uint8Array(p).fill(1), false);
  await device.write(600 * p + 10, Uint8Array.of(1), false);
  const whole = [
    { length: 2 * p, marked: false },
    { length: p, marked: true },
    { length: 597 * p, marked: false },
    { length: p, marked: true },
    { length: sizeBytes - 601 * p, marked: false },
  ];
  assert.deepEqual(await device.extents(0, sizeBytes, 5), whole);
  assert.deepEqual(await device.extents(0, sizeBytes, 3), whole.slice(0, 3));
  assert.deepEqual(await device.extents(0, sizeBytes, 1), whole.slice(0, 1));
  assert.deepEqual(await device.extents(2 * p + 3, p, 9), [
    { length: p - 3, marked: true },
    { length: 3, marked: false },
  ]);
  assert.deepEqual(await device.extents(2 * p + 3, 9, 9), [{ length: 9, marked: true }]);
  await device.trim(0, 3 * p, false);
  await device.writeZeroes(600 * p, p, true);
  assert.deepEqual(await device.extents(0, sizeBytes, 5), [{ length: sizeBytes, marked: false }]);
}

/** Random writes, trims and zeroings of whole pages, compared with a set of the pages that have content. */
export async function extentsOfRandomWork(device: BlockDevice): Promise<void> {
  let state = 0x1234567;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
  const full = new Uint8Array(workPages);
  for (let step = 0; step < 400; step += 1) {
    const first = random(workPages);
    const count = Math.min(workPages - first, 1 + random(step % 7 === 0 ? 300 : 8));
    const kind = random(4);
    if (kind === 0) await device.trim(first * p, count * p, false);
    else if (kind === 1) await device.writeZeroes(first * p, count * p, false);
    else await device.write(first * p, new Uint8Array(count * p).fill(1 + step), false);
    full.fill(kind > 1 ? 1 : 0, first, first + count);
    if (step % 4 === 0) await compare(device, full, 1 + random(40));
    if (step % 50 === 0) await device.flush();
  }
}

/** What changed, and what surely did not: a device may mark more, but not far from it. */
export async function changedParts(device: BlockDevice, keeper: Keeper): Promise<void> {
  const { sizeBytes } = device.info;
  await device.write(0, new Uint8Array(4 * p).fill(1), false);
  await device.write(900 * p, new Uint8Array(p).fill(1), false);
  await keeper.takeSnapshot("one");
  const missing = (error: unknown) => isTorusError(error, "not-found");
  await assert.rejects(device.changedSince("two", 0, p, 1), missing);
  await device.write(2 * p + 5, Uint8Array.of(7), false);
  await keeper.takeSnapshot("two");
  await device.trim(900 * p, p, false);
  const marks = async (snapshot: string) => {
    const pages = await markedPages(device, snapshot, sizeBytes / p, 3);
    return [0, 2, 900].map((page) => pages[page]);
  };
  const [, written, trimmed] = await marks("one");
  assert.deepEqual([written, trimmed], [1, 1]);
  assert.deepEqual(await marks("two"), [0, 0, 1]);
  assert.deepEqual(await device.changedSince("two", 5, 0, 1), []);
  assert.deepEqual(await device.changedSince("two", 5, 9, 1), [{ length: 9, marked: false }]);
}

/** A page that is not marked has not changed, whatever was done since; and after a snapshot nothing has. */
export async function changesOfRandomWork(device: BlockDevice, keeper: Keeper): Promise<void> {
  let state = 0x7654321;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
  const now = new Uint32Array(workPages);
  const then = new Map<string, Uint32Array>();
  for (let step = 1; step <= 240; step += 1) {
    const first = random(workPages);
    const count = Math.min(workPages - first, 1 + random(step % 7 === 0 ? 300 : 8));
    const isTrim = random(3) === 0;
    if (isTrim) await device.trim(first * p, count * p, false);
    else await device.write(first * p, new Uint8Array(count * p).fill(1 + (step % 255)), false);
    now.fill(isTrim ? 0 : step, first, first + count);
    if (step % 80 === 0) {
      await keeper.takeSnapshot(`s${step}`);
      then.set(`s${step}`, now.slice());
      const marked = await markedPages(device, `s${step}`, workPages, 100);
      assert.equal(marked.indexOf(1), -1, "nothing has changed since a moment ago");
    }
    if (step % 12 !== 0) continue;
    for (const [name, pages] of then) {
      const marked = await markedPages(device, name, workPages, 1 + random(40));
      for (let page = 0; page < workPages; page += 1)
        if (pages[page] !== now[page]) assert.equal(marked[page], 1, `page ${page} since ${name}`);
    }
  }
}

/** 1 for each page that is marked, asked for `countMax` extents at a time. */
async function markedPages(
  device: BlockDevice,
  snapshot: string,
  pages: number,
  countMax: number,
): Promise<Uint8Array> {
  const found = new Uint8Array(pages);
  let offset = 0;
  while (offset < pages * p) {
    const extents = await device.changedSince(snapshot, offset, pages * p - offset, countMax);
    assert.ok(extents.length > 0 && extents.length <= countMax && differ(extents));
    for (const { length, marked } of extents) {
      assert.ok(length > 0 && length % p === 0);
      if (marked) found.fill(1, offset / p, (offset + length) / p);
      offset += length;
    }
  }
  assert.equal(offset, pages * p);
  return found;
}

/** All of the work area, `countMax` extents at a time. */
async function compare(device: BlockDevice, full: Uint8Array, countMax: number): Promise<void> {
  let offset = 0;
  while (offset < workPages * p) {
    const extents = await device.extents(offset, workPages * p - offset, countMax);
    assert.ok(extents.length > 0 && extents.length <= countMax);
    for (const { length, marked } of extents) {
      assert.ok(length > 0 && length % p === 0);
      for (let page = offset / p; page < (offset + length) / p; page += 1)
        assert.equal(marked, full[page] === 1, `page ${page}`);
      offset += length;
    }
    assert.ok(differ(extents), "neighbours differ");
  }
  assert.equal(offset, workPages * p);
}

function differ(extents: readonly Extent[]): boolean {
  return extents.every(({ marked }, index) => index === 0 || marked !== extents[index - 1].marked);
}
