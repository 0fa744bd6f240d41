// A file against an array of bytes that grows and shrinks: random requests, crashes, and whatever is read must be what the array says. And
// what a write that failed leaves past the end.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isTorusError, pageBytes, volumeBytesMax } from "#model";
import type { TestClient } from "../volume/cluster.fixture.ts";
import { TestCluster } from "../volume/cluster.fixture.ts";
import { TorusFile } from "./file.ts";
import { encodeFileHeader } from "./file-header-codec.ts";

async function openCluster(): Promise<TestCluster> {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes: 64 * 1024 });
  const shape = { sizeBytes: volumeBytesMax, acknowledge: "replicated", minReplicas: 2 } as const;
  await cluster.metadata().volumes.create({ name: "set/f", kind: "file", ...shape });
  return cluster;
}

async function openFile(cluster: TestCluster): Promise<{ file: TorusFile; client: TestClient }> {
  const client = await cluster.client();
  const device = await client.volumes.attachFile("set/f", { force: true });
  return { client, file: await TorusFile.open("set/f", device) };
}

type Step =
  | { readonly kind: "write"; readonly offset: number; readonly length: number; readonly seed: number }
  | { readonly kind: "trim"; readonly offset: number; readonly length: number }
  | { readonly kind: "truncate"; readonly length: number }
  | { readonly kind: "close" | "kill" | "power" };

const place = fc.oneof(fc.nat(200), fc.integer({ min: 4000, max: 4200 }), fc.nat(40_000));

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    arbitrary: fc
      .tuple(place, fc.nat(10_000), fc.integer({ min: 1, max: 255 }))
      .map(([offset, length, seed]): Step => ({ kind: "write", offset, length, seed })),
    weight: 6,
  },
  {
    arbitrary: fc.tuple(place, place).map(([offset, length]): Step => ({ kind: "trim", offset, length })),
    weight: 1,
  },
  { arbitrary: place.map((length): Step => ({ kind: "truncate", length })), weight: 3 },
  { arbitrary: fc.constantFrom("close", "kill", "power").map((kind): Step => ({ kind })), weight: 2 },
);

function resized(bytes: Uint8Array, length: number): Uint8Array {
  const next = new Uint8Array(length);
  next.set(bytes.subarray(0, length));
  return next;
}

function trimmed(bytes: Uint8Array, offset: number, length: number): Uint8Array {
  const next = Uint8Array.from(bytes);
  const first = Math.ceil(offset / pageBytes) * pageBytes;
  const end =
    offset + length >= bytes.length ? bytes.length : Math.floor((offset + length) / pageBytes) * pageBytes;
  if (first < end) next.fill(0, first, end);
  return next;
}

/** What is in the file after `step`, which is not a crash. */
async function perform(file: TorusFile, step: Step, before: Uint8Array): Promise<Uint8Array> {
  if (step.kind === "write") {
    const bytes = new Uint8Array(step.length).fill(step.seed);
    await file.writeAt(step.offset, bytes);
    if (step.length === 0) return before;
    const next = resized(before, Math.max(before.length, step.offset + step.length));
    next.set(bytes, step.offset);
    return next;
  }
  if (step.kind === "trim") {
    await file.trim(step.offset, step.length);
    return trimmed(before, step.offset, step.length);
  }
  if (step.kind !== "truncate") return before;
  await file.truncate(step.length);
  return resized(before, step.length);
}

test("a file is an array of bytes that grows and shrinks, also over crashes", async () => {
  const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
    const cluster = await openCluster();
    let bytes: Uint8Array = new Uint8Array(0);
    let { file, client } = await openFile(cluster);
    for (const next of steps) {
      bytes = await perform(file, next, bytes);
      if (next.kind === "close") await file.close();
      if (next.kind === "power") await file.sync();
      if (next.kind === "close" || next.kind === "kill" || next.kind === "power") {
        client.kill();
        client.close().catch(() => {});
        if (next.kind === "power") for (const store of cluster.stores) store.restart({ loseUnsynced: true });
        ({ file, client } = await openFile(cluster));
      }
      assert.equal(file.length, bytes.length);
      const found = await file.readAt(0, bytes.length + 10_000);
      assert.ok(Buffer.from(found).equals(Buffer.from(bytes)), `after ${JSON.stringify(next)}`);
    }
    await file.close();
    await client.close();
  });
  await fc.assert(property, { numRuns: 25, seed: 11 });
});

test("a power cut leaves a beginning of what was asked for, and zeroes where bytes had gone", async () => {
  for (let seed = 0; seed < 10; seed++) {
    const cluster = await openCluster();
    const { file, client } = await openFile(cluster);
    await file.writeAt(0, Buffer.alloc(20_000, 1));
    await file.sync();
    const asked = [
      file.truncate(5000),
      file.writeAt(15_000, Buffer.alloc(100, 2)),
      file.truncate(3000),
      file.truncate(30_000),
    ];
    for (let turn = 0; turn < seed; turn++) await new Promise((resolve) => setImmediate(resolve));
    client.vanish();
    client.close().catch(() => {});
    for (const request of asked) request.catch(() => {});
    for (const store of cluster.stores) store.restart({ loseUnsynced: true });
    const next = await openFile(cluster);
    assert.ok([3000, 5000, 15_100, 20_000, 30_000].includes(next.file.length), `${next.file.length} bytes`);
    const found = Buffer.from(await next.file.readAt(0, 30_000));
    const ones = found.lastIndexOf(1) + 1;
    assert.ok([3000, 5000, 20_000].includes(ones), `${ones} bytes of before`);
    if (next.file.length !== 20_000) assert.ok(ones <= 5000);
    await next.file.close();
    await next.client.close();
  }
});

test("a file that is replaced has all of the new or nothing, also after a failure and a power cut", async () => {
  const [old, fresh] = [Buffer.alloc(20_000, 1), Buffer.alloc(30_000, 2)];
  const lengths = new Set<number>();
  for (let turns = 0; turns < 24; turns++) {
    const cluster = await openCluster();
    const { file, client } = await openFile(cluster);
    await file.writeAt(0, old);
    await file.sync();
    const replacing = file.replace(async (filling) => {
      for (const at of [20_000, 0, 10_000]) await filling.write(at, fresh.subarray(0, 10_000), false);
      return fresh.length;
    });
    replacing.catch(() => {});
    for (let turn = 0; turn < turns * 4; turn++) await new Promise((resolve) => setImmediate(resolve));
    client.vanish();
    client.close().catch(() => {});
    for (const store of cluster.stores) store.restart({ loseUnsynced: true });
    const next = await openFile(cluster);
    const { length } = next.file;
    lengths.add(length);
    const expected = [Buffer.alloc(0), old, fresh].find((bytes) => bytes.length === length);
    assert.ok(expected?.equals(await next.file.readAt(0, 40_000)), `${length} bytes after ${turns} turns`);
    // A failure leaves it empty, and nothing of what was written comes back.
    const failing = next.file.replace(async (filling) => {
      await filling.write(5000, Buffer.alloc(9000, 3), false);
      throw new Error("no more");
    });
    const waiting = next.file.writeAt(20_000, Uint8Array.of(4));
    await assert.rejects(failing, /no more/);
    await waiting;
    const left = Buffer.concat([Buffer.alloc(20_000), Buffer.of(4)]);
    assert.ok(left.equals(await next.file.readAt(0, 40_000)));
    const shorter = next.file.replace(async (filling) => {
      await filling.write(0, Uint8Array.of(1, 2), false);
      return 1;
    });
    await assert.rejects(shorter, /2 bytes were written to a file of 1/);
    await next.file.close();
    await next.client.close();
  }
  assert.ok(lengths.has(old.length) && lengths.has(fresh.length), [...lengths].join());
});

test("what lies past the end of a file, as a write that failed leaves it, is gone when the file is opened", async () => {
  const cluster = await openCluster();
  const client = await cluster.client();
  const device = await client.volumes.attachFile("set/f", { force: false });
  await device.write(0, encodeFileHeader(5000), false);
  await device.write(pageBytes, Buffer.alloc(pageBytes * 5, 7), false);
  const file = await TorusFile.open("set/f", device);
  await file.truncate(20_000);
  const found = Buffer.from(await file.readAt(0, 30_000));
  assert.equal(found.length, 20_000);
  assert.ok(found.subarray(0, 5000).equals(Buffer.alloc(5000, 7)));
  assert.ok(found.subarray(5000).equals(Buffer.alloc(15_000)));
  await file.close();
  await client.close();
});

test("what cannot be is refused; disks and files are not taken for each other", async () => {
  const cluster = await openCluster();
  await cluster.createVolume("disk", 2 ** 20);
  const { file, client } = await openFile(cluster);
  const invalid = (error: unknown) => isTorusError(error, "invalid-argument");
  for (const [offset, length] of [
    [-1, 1],
    [0.5, 1],
    [2 ** 48, 1],
    [Number.NaN, 1],
  ])
    await assert.rejects(file.readAt(offset, length), invalid);
  await assert.rejects(file.writeAt(2 ** 48, Uint8Array.of(1)), invalid);
  await assert.rejects(file.truncate(-1), invalid);
  await assert.rejects(client.volumes.attach("set/f", { force: true }), /is no block volume/);
  await assert.rejects(client.volumes.attachFile("disk", { force: true }), /is no file volume: it is a disk/);
  const resize = { volume: "set/f", sizeBytes: 4096, force: true, timeoutMs: 5000 };
  await file.writeAt(0, Uint8Array.of(1));
  await assert.rejects(client.volumes.resize(resize), /"set\/f" is a file/);
  assert.deepEqual([...(await file.readAt(0, 2))], [1]);
  assert.deepEqual(
    (await client.volumes.list()).map(({ name }) => name),
    ["disk"],
  );
  await file.close();
  await client.close();
});
