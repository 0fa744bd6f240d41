// Crashes: clients killed in the middle of writes, stores restarted with what they had only in memory lost, peers cut off and
// back, from a seed. After each crash every page must read as its last flushed content or as something written since.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pageBytes } from "#model";
import type { AttachedVolume } from "./catalog.ts";
import { cleanerDefaults } from "./cleaner.ts";
import type { TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";

const pages = 64;
const seeds = Number(process.env["TORUS_CRASH_SEEDS"] ?? 6);
const rounds = 12;

/** A small, quick generator (mulberry32). */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** What each page may hold: the flushed value and every one written since, in order. 0 is zeroes. */
class Expected {
  readonly allowed: number[][] = Array.from({ length: pages }, () => [0]);

  wrote(page: number, value: number): void {
    this.allowed[page].push(value);
  }

  /** Everything below the marks is durable: only the newest of it and what came after may be seen. */
  flushed(marks: readonly number[]): void {
    for (const [page, mark] of marks.entries()) this.allowed[page].splice(0, mark);
  }

  marks(): number[] {
    return this.allowed.map((values) => values.length - 1);
  }

  /** What was read is what is there from now on. */
  observed(page: number, value: number): void {
    this.allowed[page] = [value];
  }
}

function content(value: number): Buffer {
  const bytes = Buffer.alloc(pageBytes);
  if (value !== 0)
    for (let i = 0; i < pageBytes; i += 4) bytes.writeUInt32LE(Math.imul(value, 2654435761) >>> 0, i);
  return bytes;
}

/** Writes, trims and flushes for a while; some are still in flight when it returns. */
async function work(
  volume: AttachedVolume,
  expected: Expected,
  roll: (below: number) => number,
  stamp: () => number,
): Promise<void> {
  for (let i = 0; i < 30; i++) {
    const page = roll(pages);
    const kind = roll(12);
    if (kind === 0) {
      const marks = expected.marks();
      const flushed = volume.flush().then(() => expected.flushed(marks));
      await flushed;
    } else if (kind === 1) {
      expected.wrote(page, 0);
      await volume.trim(page * pageBytes, pageBytes, false);
    } else {
      const value = stamp();
      expected.wrote(page, value);
      const written = volume.write(page * pageBytes, content(value), kind === 2);
      // Flushes cover answered writes only, so whoever is not awaited must not be counted as covered: every other one is awaited.
      if (roll(3) > 0 || kind === 2) await written;
      else {
        written.catch(() => {});
        await written.catch(() => {});
      }
    }
  }
  for (let i = 0; i < roll(6); i++) {
    const page = roll(pages);
    const value = stamp();
    expected.wrote(page, value);
    volume.write(page * pageBytes, content(value), false).catch(() => {});
  }
}

async function verify(
  volume: AttachedVolume,
  expected: Expected,
  where: string,
  values: ReadonlyMap<string, number>,
): Promise<void> {
  for (let page = 0; page < pages; page++) {
    const bytes = Buffer.from(await volume.read(page * pageBytes, pageBytes));
    const value = values.get(bytes.subarray(0, 4).toString("hex")) ?? -1;
    assert.ok(
      expected.allowed[page].includes(value) && bytes.equals(content(value)),
      `${where}: page ${page} reads ${value}, allowed ${expected.allowed[page].join(", ")}`,
    );
    expected.observed(page, value);
  }
}

async function attach(cluster: TestCluster): Promise<{ volume: AttachedVolume; client: TestClient }> {
  return cluster.attach("v");
}

for (let seed = 1; seed <= seeds; seed++) {
  test(`crashes, seed ${seed}: nothing flushed is lost, nothing is invented`, async () => {
    const roll = dice(seed * 7919);
    const cluster = await TestCluster.open({
      peers: 3 + (seed % 2),
      replicas: 3,
      blockBytes: 64 * 1024,
      // Every other cluster cleans as eagerly as can be, so that crashes meet pages on their way.
      ...(seed % 2 === 0
        ? {
            cleaner: {
              ...cleanerDefaults,
              garbageMin: 0.1,
              roomyGarbageMin: 0.1,
              gainBlocksMin: 1,
              lookEveryMs: 1,
            },
          }
        : {}),
    });
    await cluster.createVolume("v", pages * pageBytes);
    const expected = new Expected();
    const values = new Map<string, number>([["00000000", 0]]);
    let last = 0;
    const stamp = (): number => {
      last += 1;
      values.set(content(last).subarray(0, 4).toString("hex"), last);
      return last;
    };
    for (let round = 0; round < rounds; round++) {
      const { volume, client } = await attach(cluster);
      await verify(volume, expected, `seed ${seed} round ${round}`, values);
      await work(volume, expected, roll, stamp);
      await cluster.collect("v");
      if (roll(4) === 0) await client.close();
      else {
        client.kill();
        client.close().catch(() => {});
        const lossy = roll(2) === 0;
        for (const store of cluster.stores)
          if (lossy || roll(2) === 0) store.restart({ loseUnsynced: roll(2) === 0 });
      }
      // One peer may be away while the next attaches.
      cluster.cut.clear();
      if (roll(3) === 0) cluster.cut.add(cluster.stores[roll(cluster.stores.length)].peer);
    }
  });
}
