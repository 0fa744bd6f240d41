// The cleaner on whole volumes: space stays bounded while everything is overwritten, content stays what it was, through crashes too,
// and what a client writes while a page is being moved wins [C17].

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isTorusError, pageBytes } from "#model";
import { attachTuningDefaults } from "./attach-options.ts";
import type { AttachedVolume } from "./catalog.ts";
import type { CleanerOptions } from "./cleaner.ts";
import { cleanerDefaults } from "./cleaner.ts";
import type { TestClient, TestClusterOptions } from "./cluster.fixture.ts";
import { TestCluster, volumeOf } from "./cluster.fixture.ts";

const blockBytes = 64 * 1024;

const eager: CleanerOptions = {
  ...cleanerDefaults,
  garbageMin: 0.2,
  garbageMax: 0.4,
  roomyGarbageMin: 0.2,
  roomyGarbageMax: 0.4,
  gainBlocksMin: 2,
  lookEveryMs: 2,
  stepPages: 32,
};

function content(value: number): Buffer {
  const bytes = Buffer.alloc(pageBytes);
  return value === 0 ? bytes : bytes.fill(Buffer.from(`${value}.`));
}

function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function counted(client: TestClient, name: string): number {
  return client.metrics.counter(`torus_volume_${name}_total`, "").value;
}

/** A volume "v" of `pages` on three peers, attached. */
async function attached(pages: number, options: Partial<TestClusterOptions> = {}) {
  const cluster = await TestCluster.open({ peers: 3, replicas: 3, blockBytes, ...options });
  await cluster.createVolume("v", pages * pageBytes);
  return { cluster, ...(await cluster.attach("v")) };
}

/** Commits a checkpoint, as time would. */
function checkpoint(volume: AttachedVolume): void {
  volumeOf(volume).checkpointSoon();
}

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.fail(`${what} did not come about`);
}

async function checkAll(volume: AttachedVolume, values: readonly number[]): Promise<void> {
  for (const [page, value] of values.entries()) {
    const bytes = Buffer.from(await volume.read(page * pageBytes, pageBytes));
    assert.ok(bytes.equals(content(value)), `page ${page} is ${value}`);
  }
}

test("twenty times the volume's size overwritten at random, 70 % full: space stays bounded, content right", async (context) => {
  const pages = 512;
  const filled = Math.floor(pages * 0.7);
  const { cluster, volume, client } = await attached(pages, { cleaner: eager });
  const roll = dice(7);
  const values = new Array<number>(pages).fill(0);
  const write = (page: number, value: number): Promise<void> => {
    values[page] = value;
    return volume.write(page * pageBytes, content(value), false);
  };
  for (let page = 0; page < filled; page++) await write(page, page + 1);
  let blocksMax = 0;
  for (let written = 0, round = 1; written < 20 * pages; round++) {
    await Promise.all(Array.from({ length: 16 }, () => write(roll(filled), 1000 + written++)));
    if (round % 4 !== 0) continue;
    await volume.flush();
    checkpoint(volume);
    await cluster.collect("v");
    if (round > 20) blocksMax = Math.max(blocksMax, await cluster.dataBlocks());
  }
  const written = counted(client, "written_bytes");
  const amplification =
    (written + counted(client, "moved_bytes") + counted(client, "checkpoint_bytes")) / written;
  const factor = (blocksMax * blockBytes) / (filled * pageBytes);
  context.diagnostic(`write amplification ${amplification.toFixed(2)}, space ${factor.toFixed(2)} x live`);
  assert.ok(factor < 3.5, `the space is ${factor} times what is live`);
  await checkAll(volume, values);
  await client.close();
  const next = await cluster.attach("v");
  await checkAll(next.volume, values);
  await next.client.close();
});

test("an idle volume is cleaned until there is nothing to gain, and then left alone", async () => {
  const { cluster, volume, client } = await attached(256, { cleaner: eager });
  const values = Array.from({ length: 256 }, (_, page) => page + 1);
  for (let page = 0; page < 256; page++) await volume.write(page * pageBytes, content(page + 1), false);
  for (let page = 0; page < 256; page++) {
    if (page % 4 === 0) continue;
    values[page] += 1000;
    await volume.write(page * pageBytes, content(values[page]), false);
  }
  await volume.flush();
  await until(() => counted(client, "moved_bytes") > 0, "cleaning");
  let before = -1;
  await until(async () => {
    await new Promise((resolve) => setTimeout(resolve, 60));
    const now = counted(client, "moved_bytes");
    const rests = now === before;
    before = now;
    return rests;
  }, "an end of cleaning");
  checkpoint(volume);
  await volume.flush();
  await until(async () => (await cluster.collect("v")) >= 0 && (await cluster.dataBlocks()) <= 26, "space");
  await checkAll(volume, values);
  await client.close();
});

test("blocks that are trimmed whole die at the next checkpoint, without cleaning", async () => {
  const { cluster, volume, client } = await attached(256);
  for (let page = 0; page < 256; page++) await volume.write(page * pageBytes, content(page + 1), false);
  await volume.trim(0, 256 * pageBytes, false);
  await volume.flush();
  checkpoint(volume);
  await until(async () => (await cluster.collect("v")) >= 0 && (await cluster.dataBlocks()) <= 1, "space");
  await checkAll(volume, new Array<number>(256).fill(0));
  await client.close();
});

/** Holds back reads of whole blocks until `open` is called. */
function gateBlockReads(cluster: TestCluster): { readonly reached: Promise<void>; open(): void } {
  let open = (): void => {};
  let reach = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  for (const store of cluster.stores) {
    const read = store.read.bind(store);
    store.read = async (ref, offset, length) => {
      const bytes = await read(ref, offset, length);
      if (ref.type === 0 && length > pageBytes) {
        reach();
        await opened;
      }
      return bytes;
    };
  }
  return { reached, open };
}

test("[C17] what a client writes while the cleaner has the page read is what is there, also after a crash", async () => {
  const { cluster, volume, client } = await attached(128, { cleaner: { ...eager, lookEveryMs: 20 } });
  const gate = gateBlockReads(cluster);
  const values = new Array<number>(128).fill(0);
  const write = async (page: number, value: number): Promise<void> => {
    values[page] = value;
    await volume.write(page * pageBytes, content(value), false);
  };
  for (let page = 0; page < 128; page++) await write(page, page + 1);
  for (let page = 0; page < 128; page++) if (page % 3 > 0) await write(page, 1000 + page);
  await volume.flush();
  await gate.reached;
  // The cleaner has read blocks whose live pages are among these.
  for (let page = 0; page < 128; page += 3) if (page % 2 === 0) await write(page, 2000 + page);
  await volume.trim(3 * pageBytes, pageBytes, false);
  values[3] = 0;
  gate.open();
  await until(() => counted(client, "moved_bytes") > 0, "cleaning");
  await checkAll(volume, values);
  client.kill();
  client.close().catch(() => {});
  const next = await cluster.attach("v");
  await checkAll(next.volume, values);
  await next.client.close();
});

test("[C16] a full pool takes no new data, but trims and cleaning go on, and then there is space again", async () => {
  const { cluster, volume, client } = await attached(512, {
    cleaner: { ...eager, stepPages: 4 },
    tuning: { ...attachTuningDefaults, fullPatienceMs: 100 },
    storeBytes: 48 * blockBytes,
    reserveBytes: 8 * blockBytes,
  });
  const values = new Array<number>(512).fill(0);
  let refused = false;
  // Every third page of every round stays live: no block dies by itself.
  for (let round = 0; round < 4 && !refused; round++) {
    for (let page = round; page < 512 && !refused; page += 1) {
      if (page % 3 === round % 3 && round > 0) continue;
      await volume.write(page * pageBytes, content(1000 * round + page + 1), false).then(
        () => {
          values[page] = 1000 * round + page + 1;
        },
        (error) => {
          assert.ok(isTorusError(error, "full"), String(error));
          refused = true;
        },
      );
    }
  }
  assert.ok(refused, "the pool is full");
  await volume.trim(256 * pageBytes, 200 * pageBytes, false);
  values.fill(0, 256, 456);
  await volume.flush();
  await checkAll(volume, values);
  await until(async () => {
    await cluster.collect("v");
    return volume.write(0, content(5), false).then(
      () => true,
      () => false,
    );
  }, "space");
  values[0] = 5;
  await checkAll(volume, values);
  await client.close();
});

const crashPages = 96;
const kinds = ["write", "write", "write", "write", "trim", "wait", "collect", "crash"] as const;
const operations = fc.array(
  fc.record({
    kind: fc.constantFrom(...kinds),
    page: fc.nat(crashPages - 1),
    count: fc.integer({ min: 1, max: 24 }),
  }),
  { minLength: 30, maxLength: 60 },
);

async function crash(cluster: TestCluster, client: TestClient): ReturnType<TestCluster["attach"]> {
  client.kill();
  client.close().catch(() => {});
  return cluster.attach("v");
}

test("crashes at any point of cleaning: recovery gives what was answered", async () => {
  const cleaner = { ...eager, gainBlocksMin: 1, lookEveryMs: 0 };
  let moved = 0;
  const property = fc.asyncProperty(operations, async (drawn) => {
    const { cluster, ...first } = await attached(crashPages, { cleaner });
    let { volume, client } = first;
    const values = new Array<number>(crashPages).fill(0);
    let stamp = 0;
    for (const { kind, page, count } of drawn) {
      const end = Math.min(crashPages, page + count);
      if (kind === "write") {
        const from = stamp + 1;
        for (let at = page; at < end; at++) values[at] = ++stamp;
        const bytes = Buffer.concat(Array.from({ length: end - page }, (_, i) => content(from + i)));
        await volume.write(page * pageBytes, bytes, false);
      } else if (kind === "trim") {
        values.fill(0, page, end);
        await volume.trim(page * pageBytes, (end - page) * pageBytes, false);
      } else if (kind === "wait") await new Promise((resolve) => setTimeout(resolve, page % 4));
      else if (kind === "collect") {
        checkpoint(volume);
        await cluster.collect("v");
      } else {
        moved += counted(client, "moved_bytes");
        ({ volume, client } = await crash(cluster, client));
        await checkAll(volume, values);
      }
    }
    await checkAll(volume, values);
    const last = await crash(cluster, client);
    await checkAll(last.volume, values);
    await last.client.close();
  });
  await fc.assert(property, { numRuns: 10, seed: 17 });
  // Where the cleaner has little time (a busy machine), it takes more runs.
  for (let seed = 18; moved === 0 && seed < 40; seed++) await fc.assert(property, { numRuns: 5, seed });
  assert.ok(moved > 0, "pages were moved before crashes");
});
