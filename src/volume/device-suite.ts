// The suite every BlockDevice passes: what a gateway may rely on, at the level of bytes. It writes over the whole
// device, so it wants one of its own, of a few MiB, empty at the start.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError, pageBytes } from "#model";
import type { BlockDevice } from "./block-device.ts";
import {
  changedParts,
  changesOfRandomWork,
  emptyDevice,
  extentsOfParts,
  extentsOfRandomWork,
} from "./device-suite-extents.ts";

export interface SuiteDevice {
  readonly device: BlockDevice;
  takeSnapshot(name: string): Promise<unknown>;
  close(): Promise<void>;
}

/** Registers the tests under `name`. `open` makes an empty device of at least `sizeBytes`, for one test. */
export function blockDeviceSuite(name: string, open: (sizeBytes: number) => Promise<SuiteDevice>): void {
  for (const [title, body] of cases) {
    test(`${name}: ${title}`, async () => {
      const opened = await open(deviceBytes);
      try {
        assert.ok(opened.device.info.sizeBytes >= deviceBytes, "the suite needs a larger device");
        await body(opened.device, opened);
      } finally {
        await opened.close();
      }
    });
  }
}

const deviceBytes = 4 * 1024 * 1024;
const p = pageBytes;

type Case = readonly [title: string, body: (device: BlockDevice, opened: SuiteDevice) => Promise<void>];

const cases: readonly Case[] = [
  ["holes read as zeroes", holes],
  ["reads give back writes at any alignment", alignments],
  ["a write smaller than its page leaves the rest", partialWrite],
  ["the caller may reuse its buffer as soon as write returns", reusedBuffer],
  ["what read gave stays as it is", stableResult],
  ["trim gives whole pages back and leaves partial ones alone", trims],
  ["write zeroes is exact to the byte", zeroes],
  ["overlapping writes to one page at the same time keep both halves", concurrentHalves],
  ["many small writes to one page at the same time all arrive", concurrentSlices],
  ["a later write wins over an earlier one in flight", laterWins],
  ["a read issued after an answered write sees it", readAfterWrite],
  ["empty ranges are allowed everywhere and change nothing", emptyRanges],
  ["ranges outside are refused and change nothing", outside],
  ["the last byte can be read, written, trimmed and zeroed", lastByte],
  ["an empty device is one hole", emptyDevice],
  ["extents are exact to the byte at the ends, and as many as asked for", extentsOfParts],
  ["extents agree with what a random workload of pages left", extentsOfRandomWork],
  [
    "changes since a snapshot: what was written or trimmed is marked, what lies far from it is not",
    changedParts,
  ],
  ["no change of a random workload since any of several snapshots goes unmarked", changesOfRandomWork],
  ["a random workload agrees with an array of bytes", randomWorkload],
  ["a random workload with many requests in flight agrees where they do not overlap", randomConcurrent],
];

async function holes(device: BlockDevice): Promise<void> {
  await expect(device, 0, p, new Uint8Array(p));
  await expect(device, p - 7, 3 * p + 11, new Uint8Array(3 * p + 11));
  await device.write(5 * p, pattern(p, 1), false);
  await expect(device, 4 * p, p, new Uint8Array(p));
  await expect(device, 6 * p, p, new Uint8Array(p));
}

async function alignments(device: BlockDevice): Promise<void> {
  let seed = 1;
  for (const offset of [0, 1, 511, 512, p - 1, p, p + 1, 3 * p - 3, 1024 * 1024 - 1]) {
    for (const length of [1, 2, 511, 512, 513, p - 1, p, p + 1, 2 * p, 3 * p + 5, 300_001]) {
      const bytes = pattern(length, seed++);
      await device.write(offset, bytes, seed % 5 === 0);
      await expect(device, offset, length, bytes);
    }
  }
}

async function partialWrite(device: BlockDevice): Promise<void> {
  const base = pattern(2 * p, 7);
  await device.write(8 * p, base, false);
  const piece = pattern(100, 9);
  await device.write(9 * p - 50, piece, false);
  base.set(piece, p - 50);
  await expect(device, 8 * p, 2 * p, base);
  await device.write(100 * p + 17, Uint8Array.of(1, 2, 3), true);
  const hole = new Uint8Array(p);
  hole.set([1, 2, 3], 17);
  await expect(device, 100 * p, p, hole);
}

async function reusedBuffer(device: BlockDevice): Promise<void> {
  const buffer = new Uint8Array(2 * p + 10);
  const writes: Promise<void>[] = [];
  for (let index = 0; index < 16; index += 1) {
    buffer.set(pattern(buffer.length, index + 1));
    writes.push(device.write(index * 4 * p + 5, buffer, false));
  }
  buffer.fill(0xff);
  await Promise.all(writes);
  for (let index = 0; index < 16; index += 1) {
    await expect(device, index * 4 * p + 5, buffer.length, pattern(buffer.length, index + 1));
  }
}

async function stableResult(device: BlockDevice): Promise<void> {
  const first = pattern(p, 3);
  await device.write(0, first, false);
  const read = await device.read(0, p);
  await device.write(0, pattern(p, 4), false);
  await device.trim(0, p, false);
  assert.deepEqual(Buffer.from(read), Buffer.from(first));
  read.fill(0x55);
  await expect(device, 0, p, new Uint8Array(p));
}

async function trims(device: BlockDevice): Promise<void> {
  const base = pattern(6 * p, 11);
  await device.write(0, base, false);
  await device.trim(p - 1, 2 * p + 2, false);
  base.fill(0, p, 3 * p);
  await expect(device, 0, 6 * p, base);
  await device.trim(3 * p + 1, p - 2, false);
  await device.trim(3 * p + 1, 2 * p - 2, true);
  await expect(device, 0, 6 * p, base);
  await device.trim(4 * p, p, true);
  base.fill(0, 4 * p, 5 * p);
  await expect(device, 0, 6 * p, base);
  await device.trim(0, device.info.sizeBytes, false);
  await expect(device, 0, 6 * p, new Uint8Array(6 * p));
}

async function zeroes(device: BlockDevice): Promise<void> {
  const base = pattern(6 * p, 13);
  await device.write(0, base, false);
  for (const [offset, length] of [
    [1, 1],
    [p - 3, 6],
    [2 * p + 1, 2 * p - 2],
    [5 * p, p],
  ]) {
    await device.writeZeroes(offset, length, length === p);
    base.fill(0, offset, offset + length);
    await expect(device, 0, 6 * p, base);
  }
  await device.writeZeroes(0, device.info.sizeBytes, false);
  await expect(device, 0, 6 * p, new Uint8Array(6 * p));
}

async function concurrentHalves(device: BlockDevice): Promise<void> {
  for (let page = 0; page < 32; page += 1) {
    const start = page * p;
    const front = pattern(p / 2, page + 1);
    const back = pattern(p / 2, page + 100);
    await Promise.all([
      device.write(start, front, false),
      device.write(start + p / 2, back, page % 2 === 0),
      device.writeZeroes(start + 10, 20, false),
    ]);
    front.fill(0, 10, 30);
    await expect(device, start, p / 2, front);
    await expect(device, start + p / 2, p / 2, back);
  }
}

async function concurrentSlices(device: BlockDevice): Promise<void> {
  const whole = pattern(p * 2, 21);
  const writes: Promise<void>[] = [];
  for (let at = 0; at < whole.length; at += 512)
    writes.push(device.write(p * 3 + at, whole.subarray(at, at + 512), false));
  await Promise.all(writes);
  await device.flush();
  await expect(device, p * 3, whole.length, whole);
}

async function laterWins(device: BlockDevice): Promise<void> {
  const expected = new Uint8Array(2 * p);
  const requests: Promise<void>[] = [];
  for (let round = 0; round < 40; round += 1) {
    const offset = (round * 97) % p;
    const bytes = pattern(1 + ((round * 389) % p), round + 1);
    expected.set(bytes, offset);
    requests.push(device.write(offset, bytes, false));
  }
  await Promise.all(requests);
  await expect(device, 0, 2 * p, expected);
}

async function readAfterWrite(device: BlockDevice): Promise<void> {
  const bytes = pattern(p + 100, 31);
  await device.write(50, bytes, false);
  const others = [device.write(20 * p, bytes, false), device.flush(), device.trim(30 * p, p, false)];
  await expect(device, 50, bytes.length, bytes);
  await Promise.all(others);
}

async function emptyRanges(device: BlockDevice): Promise<void> {
  const bytes = pattern(p, 41);
  await device.write(0, bytes, false);
  for (const offset of [0, 5, p, device.info.sizeBytes]) {
    await device.write(offset, new Uint8Array(0), true);
    await device.trim(offset, 0, false);
    await device.writeZeroes(offset, 0, true);
    assert.equal((await device.read(offset, 0)).length, 0);
  }
  await expect(device, 0, p, bytes);
}

async function outside(device: BlockDevice): Promise<void> {
  const { sizeBytes } = device.info;
  const before = pattern(p, 43);
  await device.write(sizeBytes - p, before, false);
  for (const [offset, length] of [
    [sizeBytes, 1],
    [sizeBytes - 1, 2],
    [-1, 1],
    [sizeBytes + p, p],
    [0, sizeBytes + 1],
    [2 ** 53, 1],
    [0.5, 1],
  ]) {
    const invalid = (error: unknown) => isTorusError(error, "invalid-argument");
    await assert.rejects(device.read(offset, length), invalid);
    await assert.rejects(device.extents(offset, length, 1), invalid);
    await assert.rejects(device.changedSince("s", offset, length, 1), invalid);
    await assert.rejects(device.trim(offset, length, false), invalid);
    await assert.rejects(device.writeZeroes(offset, length, false), invalid);
    if (length < 2 * p) await assert.rejects(device.write(offset, new Uint8Array(length), false), invalid);
  }
  await expect(device, sizeBytes - p, p, before);
}

async function lastByte(device: BlockDevice): Promise<void> {
  const last = device.info.sizeBytes - 1;
  await device.write(last, Uint8Array.of(9), true);
  await expect(device, last, 1, Uint8Array.of(9));
  await device.trim(last, 1, false);
  await expect(device, last, 1, Uint8Array.of(9));
  await device.writeZeroes(last, 1, false);
  await expect(device, last, 1, Uint8Array.of(0));
}

async function randomWorkload(device: BlockDevice): Promise<void> {
  const random = sequence(0x5eed);
  const model = new ByteModel();
  for (let step = 0; step < 1500; step += 1) {
    const [offset, length] = randomRange(random, model.bytes.length);
    await model.apply(device, random() % 16, offset, length, step + 1);
    if (random() % 2 === 0) {
      const [from, count] = randomRange(random, model.bytes.length);
      await expect(device, from, count, model.bytes.subarray(from, from + count));
    }
    if (step % 100 === 0) await device.flush();
  }
  await device.flush();
  await expect(device, 0, model.bytes.length, model.bytes);
}

async function randomConcurrent(device: BlockDevice): Promise<void> {
  const random = sequence(0xc0ffee);
  const model = new ByteModel();
  for (let round = 0; round < 40; round += 1) {
    const requests: Promise<void>[] = [];
    // Neighbours share pages, never bytes.
    for (let at = 0; at < 512 * 1024; ) {
      const length = 1 + (random() % (3 * p));
      requests.push(model.apply(device, random() % 16, at, length, round * 1000 + at));
      at += length + (random() % 64);
    }
    if (round % 3 === 0) requests.push(device.flush());
    await Promise.all(requests);
    await expect(device, 0, 600 * 1024, model.bytes.subarray(0, 600 * 1024));
  }
}

/** The truth: a plain array that the same requests are done to. */
class ByteModel {
  readonly bytes = new Uint8Array(deviceBytes);

  apply(device: BlockDevice, kind: number, offset: number, length: number, seed: number): Promise<void> {
    const fua = seed % 7 === 0;
    if (kind === 0) {
      this.bytes.fill(0, offset, offset + length);
      return device.writeZeroes(offset, length, fua);
    }
    if (kind === 1) {
      const first = Math.ceil(offset / p) * p;
      const end = Math.floor((offset + length) / p) * p;
      if (end > first) this.bytes.fill(0, first, end);
      return device.trim(offset, length, fua);
    }
    const data = pattern(length, seed);
    this.bytes.set(data, offset);
    return device.write(offset, data, fua);
  }
}

/** Ranges as clients make them: mostly whole pages, often odd, now and then long. */
function randomRange(random: () => number, sizeBytes: number): [offset: number, length: number] {
  const shape = random() % 8;
  const unit = shape < 4 ? p : shape < 6 ? 512 : 1;
  const most = shape === 7 ? 300_000 : 5 * p;
  const length = Math.max(unit, Math.floor((random() % most) / unit) * unit);
  const offset = Math.floor((random() % (sizeBytes - length + 1)) / unit) * unit;
  return [offset, length];
}

async function expect(device: BlockDevice, offset: number, length: number, bytes: Uint8Array): Promise<void> {
  const read = await device.read(offset, length);
  assert.equal(read.length, length);
  const difference =
    Buffer.compare(read, bytes) === 0 ? -1 : read.findIndex((byte, at) => byte !== bytes[at]);
  assert.equal(
    difference,
    -1,
    `${length} bytes at ${offset}: differ at ${offset + difference} (page ${Math.floor((offset + difference) / p)})`,
  );
}

/** Bytes that differ from place to place and from seed to seed, never all zero. */
function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let at = 0; at < length; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = (state >>> 24) | 1;
  }
  return bytes;
}

/** A seeded sequence of 32-bit numbers (xorshift). */
function sequence(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}
