// The history of a volume on a cluster in memory: what it was at any instant is what had been answered by then, across checkpoints, epochs,
// crashes of the writer, cleaning, a resize and going back to a snapshot.

import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "#host/node";
import { isTorusError, pageBytes } from "#model";
import { attachTuningDefaults } from "./attach-options.ts";
import type { BlockDevice } from "./block-device.ts";
import type { CleanerOptions } from "./cleaner.ts";
import { cleanerDefaults } from "./cleaner.ts";
import type { TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";

const pages = 64;
const keepMs = 3_600_000;
const cleanedMsMax = 120_000;

/** What a volume of `pages` pages has: a number a page, 0 for zeroes. */
type Content = readonly number[];

interface Instant {
  readonly atMs: number;
  readonly content: Content;
}

function page(seed: number): Buffer {
  return seed === 0 ? Buffer.alloc(pageBytes) : Buffer.alloc(pageBytes, `${seed} `);
}

/** Lets the clock go on by at least a millisecond, so that what came before and what comes after are of different times. */
async function tick(): Promise<number> {
  const beforeMs = systemClock.wallMs();
  while (Math.floor(systemClock.wallMs()) <= Math.floor(beforeMs) + 1)
    await new Promise((resolve) => setTimeout(resolve, 1));
  return Math.floor(beforeMs) + 1;
}

/** Writes at random and knows what there was at each instant. */
class Diary {
  readonly instants: Instant[] = [];
  #content: number[] = Array.from({ length: pages }, () => 0);
  #seed = 0;
  readonly #roll: (n: number) => number;

  /** Only each page but every fourth, once all were written. */
  isSparing = false;

  constructor(roll: (n: number) => number) {
    this.#roll = roll;
  }

  async fill(device: BlockDevice): Promise<void> {
    for (let at = 0; at < pages; at++) {
      this.#seed += 1;
      await device.write(at * pageBytes, page(this.#seed), false);
      this.#content[at] = this.#seed;
    }
  }

  get content(): Content {
    return this.#content;
  }

  /** Back to what there was. */
  goBack(content: Content): void {
    this.#content = [...content];
  }

  /** Some requests, all answered, and the instant after them. */
  async write(device: BlockDevice, requests: number): Promise<void> {
    for (let i = 0; i < requests; i++) {
      const at = this.#roll(pages);
      if (this.isSparing && at % 4 === 0) continue;
      if (!this.isSparing && this.#roll(8) === 0) {
        const count = Math.min(pages - at, 1 + this.#roll(8));
        await device.trim(at * pageBytes, count * pageBytes, false);
        this.#content.fill(0, at, at + count);
      } else {
        this.#seed += 1;
        await device.write(at * pageBytes, page(this.#seed), false);
        this.#content[at] = this.#seed;
      }
    }
    if (this.#roll(3) === 0) await device.flush();
    this.instants.push({ atMs: await tick(), content: [...this.#content] });
  }
}

function dice(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

const eager: CleanerOptions = {
  ...cleanerDefaults,
  garbageMin: 0.2,
  garbageMax: 0.3,
  roomyGarbageMin: 0.2,
  roomyGarbageMax: 0.3,
  gainBlocksMin: 1,
  rateMin: 64 * 2 ** 20,
  lookEveryMs: 20,
};

async function openCluster(options: { keep?: number; cleaner?: CleanerOptions } = {}) {
  const cluster = await TestCluster.open({
    peers: 3,
    replicas: 3,
    blockBytes: 64 * 1024,
    ...(options.cleaner === undefined ? {} : { cleaner: options.cleaner }),
    tuning: {
      ...attachTuningDefaults,
      checkpointBytes: 256 * 1024,
      checkpointEveryMs: options.cleaner === undefined ? 30_000 : 50,
      windowBytesMin: 256 * 1024,
      returnEveryMs: 100,
    },
  });
  await cluster.createVolume("v", pages * pageBytes);
  await cluster.metadata().history.keep("v", options.keep ?? keepMs);
  const operator = await cluster.client();
  return { cluster, operator };
}

function takeAt(operator: TestClient, name: string, atMs: number) {
  return operator.volumes.takeSnapshot({ volume: "v", name, labels: {}, atMs, timeoutMs: 10_000 });
}

async function expect(device: BlockDevice, content: Content, what: string): Promise<void> {
  for (const [at, seed] of content.entries()) {
    const bytes = Buffer.from(await device.read(at * pageBytes, pageBytes));
    assert.ok(
      bytes.equals(page(seed)),
      `${what}: page ${at} is ${bytes.toString("latin1", 0, 8)} and not ${seed}`,
    );
  }
}

let named = 0;

/** Every one of `instants` is had as it was. */
async function requireInstants(
  operator: TestClient,
  instants: readonly Instant[],
  what: string,
): Promise<void> {
  for (const { atMs, content } of instants) {
    named += 1;
    const taken = await takeAt(operator, `at-${named}`, atMs);
    assert.equal(taken.createdMs, atMs);
    const opened = await operator.volumes.openSnapshot("v", `at-${named}`);
    await expect(
      opened,
      content,
      `${what}, ${instants.findIndex((instant) => instant.atMs === atMs)} of ${instants.length}`,
    );
    await opened.close();
  }
}

test("[C6] the past of an attached volume is what was answered by then, at every instant since its history began", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await cluster.attach("v");
  const diary = new Diary(dice(1));
  diary.instants.push({ atMs: await tick(), content: diary.content.slice() });
  for (let i = 0; i < 40; i++) await diary.write(volume, 1 + (i % 7));
  const { history } = await cluster.metadata().volumes.find("v");
  assert.ok((history?.points.length ?? 0) >= 1);
  await requireInstants(operator, diary.instants, "attached");
  await expect(volume, diary.content, "the present");
  await client.close();
  await requireInstants(operator, diary.instants, "free");
  await operator.close();
});

test("[C5] the past reaches over crashes of writers: what was open of their logs begins the next, with its times", async () => {
  const { cluster, operator } = await openCluster();
  const diary = new Diary(dice(2));
  let open: TestClient | null = null;
  for (let epoch = 0; epoch < 5; epoch++) {
    const { volume, client } = await cluster.attach("v");
    open = client;
    await expect(volume, diary.content, `epoch ${epoch}`);
    for (let i = 0; i < 12; i++) await diary.write(volume, 1 + (i % 9));
    if (epoch === 4) break;
    if (epoch === 2) await client.close();
    else {
      client.kill();
      client.close().catch(() => {});
    }
  }
  await requireInstants(operator, diary.instants, "over crashes");
  await open?.close();
  const { history } = await cluster.metadata().volumes.find("v");
  assert.ok((history?.points.filter(({ previousEnd }) => previousEnd !== null).length ?? 0) >= 4);
  await operator.close();
});

test("[C23] after a volume was put back, its past has what it was before, and what it was since", async () => {
  const { cluster, operator } = await openCluster();
  const diary = new Diary(dice(3));
  const first = await cluster.attach("v");
  for (let i = 0; i < 8; i++) await diary.write(first.volume, 5);
  await first.client.close();
  const back = diary.instants[3];
  await takeAt(operator, "third", back.atMs);
  await operator.volumes.restoreSnapshot({ volume: "v", snapshot: "third", force: false });
  diary.goBack(back.content);
  diary.instants.push({ atMs: await tick(), content: back.content });
  const second = await cluster.attach("v");
  await expect(second.volume, back.content, "put back");
  for (let i = 0; i < 8; i++) await diary.write(second.volume, 5);
  await requireInstants(operator, diary.instants, "put back and on");
  await second.client.close();
  await operator.close();
});

test("over a resize the past has the size it had, and what was cut off", async () => {
  const { cluster, operator } = await openCluster();
  const { volume, client } = await cluster.attach("v");
  for (let i = 0; i < pages; i++) await volume.write(i * pageBytes, page(i + 1), false);
  const whole = await tick();
  const half = (pages / 2) * pageBytes;
  await operator.volumes.resize({ volume: "v", sizeBytes: half, force: true, timeoutMs: 5000 });
  const cut = await tick();
  await operator.volumes.resize({ volume: "v", sizeBytes: 2 * half, force: false, timeoutMs: 5000 });
  await volume.write(half, page(1000), false);
  const grown = await tick();
  const all = Array.from({ length: pages }, (_, i) => i + 1);
  for (const [name, atMs, size, content] of [
    ["whole", whole, 2 * half, all],
    ["cut", cut, half, all.slice(0, pages / 2)],
    ["grown", grown, 2 * half, all.map((seed, i) => (i < pages / 2 ? seed : i === pages / 2 ? 1000 : 0))],
  ] as const) {
    await takeAt(operator, name, atMs);
    const opened = await operator.volumes.openSnapshot("v", name);
    assert.equal(opened.info.sizeBytes, size);
    await expect(opened, content, name);
  }
  await client.close();
  await operator.close();
});

test("what is cleaned is had as it was before, and what is within the history is not cleaned", async () => {
  const { cluster, operator } = await openCluster({ keep: 1000, cleaner: eager });
  const { volume, client } = await cluster.attach("v");
  const diary = new Diary(dice(4));
  await diary.fill(volume);
  diary.isSparing = true;
  const startMs = systemClock.wallMs();
  const moved = client.metrics.counter("torus_volume_moved_bytes_total", "");
  const isWritten = () => systemClock.wallMs() >= startMs + 3000 && moved.value > 0;
  while (!isWritten()) {
    assert.ok(systemClock.wallMs() < startMs + cleanedMsMax, "nothing was cleaned");
    await diary.write(volume, 6);
  }
  const { history } = await cluster.metadata().volumes.find("v");
  const sinceMs = history?.points.at(0)?.timeMs ?? 0;
  assert.ok(sinceMs > diary.instants[0].atMs, "the history begins later");
  const had = diary.instants.filter(({ atMs }) => atMs >= sinceMs);
  // The writer goes on, and so does the history: what is asked for must not pass meanwhile.
  await cluster.metadata().history.keep("v", keepMs);
  await requireInstants(
    operator,
    had.filter((_, i) => i % Math.ceil(had.length / 12) === 0),
    "cleaned",
  );
  await client.close();
  await operator.close();
});

test("a time to come, one before the history, and a volume without one are refused, each with what to do", async () => {
  const { cluster, operator } = await openCluster();
  const early = systemClock.wallMs() - 1000;
  const { volume, client } = await cluster.attach("v");
  await volume.write(0, page(1), false);
  await tick();
  await assert.rejects(
    takeAt(operator, "early", early - 10_000_000),
    (error) => isTorusError(error, "not-found") && /reaches back to 20/.test(error.message),
  );
  await assert.rejects(
    takeAt(operator, "late", systemClock.wallMs() + 3_600_000),
    (error) => isTorusError(error, "invalid-argument") && /is to come/.test(error.message),
  );
  await cluster.metadata().history.keep("v", null);
  await assert.rejects(
    takeAt(operator, "none", systemClock.wallMs()),
    (error) => isTorusError(error, "not-found") && /keeps no history/.test(error.message),
  );
  await volume.write(0, page(2), false);
  await client.close();
  await operator.close();
});
