// A volume against a plain array of bytes: random requests, crashes and attaches, and whatever is read must be what the array says. A
// failing sequence is made shorter by fast-check.
//
// What was answered survives the death of its writer. When every peer loses what it had only in memory, what is left is the log up
// to some point after the last flush: the array as it was after one of the requests since, the next of them done for some of its pages.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { pageBytes } from "#model";
import { attachTuningDefaults } from "./attach-options.ts";
import type { TestClient } from "./cluster.fixture.ts";
import { TestCluster } from "./cluster.fixture.ts";
import type { Volume } from "./volume.ts";

/** At the start, and at most: more than one leaf of the map, and a few blocks of 64 KiB. */
const volumePages = 600;
const volumeBytes = volumePages * pageBytes;

interface Range {
  readonly offset: number;
  readonly length: number;
}

type Step =
  | (Range & { readonly kind: "write"; readonly seed: number; readonly fua: boolean })
  | (Range & { readonly kind: "zero" | "trim"; readonly fua: boolean })
  | (Range & { readonly kind: "read" })
  | { readonly kind: "resize"; readonly pages: number }
  | { readonly kind: "flush" | "detach" | "kill" | "power" };

/** Ranges as clients make them: mostly in a few pages at the edge of two leaves, mostly whole pages. */
const range: fc.Arbitrary<Range> = fc
  .record({
    page: fc.oneof(
      { arbitrary: fc.integer({ min: 508, max: 516 }), weight: 3 },
      { arbitrary: fc.integer({ min: 0, max: volumePages - 1 }), weight: 1 },
    ),
    pages: fc.integer({ min: 1, max: 24 }),
    from: fc.oneof({ arbitrary: fc.constant(0), weight: 2 }, { arbitrary: fc.nat(pageBytes - 1), weight: 1 }),
    less: fc.oneof({ arbitrary: fc.constant(0), weight: 2 }, { arbitrary: fc.nat(pageBytes - 1), weight: 1 }),
  })
  .map(({ page, pages, from, less }) => {
    const offset = page * pageBytes + from;
    const end = Math.min(volumeBytes, (page + pages) * pageBytes) - less;
    return { offset: Math.min(offset, end), length: Math.max(0, end - offset) };
  });

const fua = fc.integer({ min: 0, max: 7 }).map((roll) => roll === 0);

function always<Kind extends "flush" | "detach" | "kill" | "power">(kind: Kind) {
  return fc.constant({ kind });
}

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    arbitrary: fc
      .tuple(range, fc.integer({ min: 1, max: 2 ** 31 - 1 }), fua)
      .map(([where, seed, durable]): Step => ({ kind: "write", ...where, seed, fua: durable })),
    weight: 10,
  },
  {
    arbitrary: fc
      .tuple(range, fc.constantFrom("zero" as const, "trim" as const), fua)
      .map(([where, kind, durable]): Step => ({ kind, ...where, fua: durable })),
    weight: 4,
  },
  { arbitrary: range.map((where): Step => ({ kind: "read", ...where })), weight: 4 },
  {
    arbitrary: fc.integer({ min: 500, max: volumePages }).map((pages): Step => ({ kind: "resize", pages })),
    weight: 1,
  },
  { arbitrary: always("flush"), weight: 2 },
  { arbitrary: always("detach"), weight: 1 },
  { arbitrary: always("kill"), weight: 1 },
  { arbitrary: always("power"), weight: 1 },
);

function content({ length }: Range, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (Math.imul(seed, i + 1) >>> 23) | 1);
}

/** The array, and what it was after each request since the last flush, oldest first. */
class Bytes {
  #states: Uint8Array[] = [new Uint8Array(volumeBytes)];

  get now(): Uint8Array {
    return this.#states[this.#states.length - 1];
  }

  change({ offset, length }: Range, bytes: Uint8Array): void {
    if (length === 0) return;
    const next = Uint8Array.from(this.now);
    next.set(bytes, offset);
    this.#states.push(next);
  }

  /** Whole pages of the range become zero. */
  trim({ offset, length }: Range): void {
    const first = Math.ceil(offset / pageBytes) * pageBytes;
    const end = Math.floor((offset + length) / pageBytes) * pageBytes;
    if (end > first) this.change({ offset: first, length: end - first }, new Uint8Array(end - first));
  }

  /** What was past an end that the volume had is gone for good. */
  resize(pages: number): void {
    const next = new Uint8Array(pages * pageBytes);
    next.set(this.now.subarray(0, next.length));
    this.#states = [next];
  }

  /** What of the range there is. */
  within({ offset, length }: Range): Range {
    const from = Math.min(offset, this.now.length);
    return { offset: from, length: Math.min(length, this.now.length - from) };
  }

  flushed(): void {
    this.#states = [this.now];
  }

  /** What was found after all memory was lost is what there is from now on, if it may be. */
  adopt(found: Uint8Array): void {
    const isPossible = this.#states.some((state, i) => {
      const next = this.#states[Math.min(i + 1, this.#states.length - 1)];
      return differingPages(found, state).every((page) => samePage(found, next, page));
    });
    assert.ok(isPossible, "what is left is the log up to some point after the last flush");
    this.#states = [Uint8Array.from(found)];
  }
}

function pageOf(bytes: Uint8Array, page: number): Uint8Array {
  return bytes.subarray(page * pageBytes, (page + 1) * pageBytes);
}

function samePage(a: Uint8Array, b: Uint8Array, page: number): boolean {
  return Buffer.compare(pageOf(a, page), pageOf(b, page)) === 0;
}

function differingPages(a: Uint8Array, b: Uint8Array): number[] {
  if (Buffer.compare(a, b) === 0) return [];
  return Array.from({ length: a.length / pageBytes }, (_, page) => page).filter(
    (page) => !samePage(a, b, page),
  );
}

/** A volume under test: whoever has it attached now. */
class Rig {
  readonly #cluster: TestCluster;
  readonly bytes = new Bytes();
  #client!: TestClient;
  #volume!: Volume;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
  }

  async attach(): Promise<void> {
    this.#client = await this.#cluster.client();
    this.#volume = await this.#client.volumes.attachNow("v", { force: true });
  }

  async run(step: Step): Promise<void> {
    const next = "offset" in step ? { ...step, ...this.bytes.within(step) } : step;
    const volume = this.#volume;
    switch (next.kind) {
      case "write": {
        const bytes = content(next, next.seed);
        await volume.write(next.offset, bytes, next.fua);
        this.bytes.change(next, bytes);
        break;
      }
      case "zero":
        await volume.writeZeroes(next.offset, next.length, next.fua);
        this.bytes.change(next, new Uint8Array(next.length));
        break;
      case "trim":
        await volume.trim(next.offset, next.length, next.fua);
        this.bytes.trim(next);
        break;
      case "read":
        return this.#expect(next);
      case "resize":
        await volume.orders.resize({ sizeBytes: next.pages * pageBytes, force: true });
        return this.bytes.resize(next.pages);
      case "flush":
        await volume.flush();
        return this.bytes.flushed();
      case "detach":
        await this.close();
        this.bytes.flushed();
        await this.attach();
        return this.expectAll();
      case "kill":
      case "power":
        return this.#crash(next.kind === "power");
    }
    if (next.fua && next.length > 0) this.bytes.flushed();
  }

  async expectAll(): Promise<void> {
    const length = this.bytes.now.length;
    assert.equal(this.#volume.info.sizeBytes, length);
    await this.#expect({ offset: 0, length });
  }

  async close(): Promise<void> {
    await this.#volume.close();
    await this.#client.close();
  }

  async #crash(power: boolean): Promise<void> {
    this.#client.kill();
    this.#client.close().catch(() => {});
    if (power) for (const store of this.#cluster.stores) store.restart({ loseUnsynced: true });
    await this.attach();
    if (power) this.bytes.adopt(await this.#volume.read(0, this.#volume.info.sizeBytes));
    else await this.expectAll();
    // An attach ends with a checkpoint of what it found.
    this.bytes.flushed();
  }

  async #expect({ offset, length }: Range): Promise<void> {
    const found = await this.#volume.read(offset, length);
    const isSame = Buffer.compare(found, this.bytes.now.subarray(offset, offset + length)) === 0;
    assert.ok(isSame, `bytes ${offset} to ${offset + length} read as the array says`);
  }
}

for (const checkpointBytes of [attachTuningDefaults.checkpointBytes, 128 * 1024]) {
  test(`a volume is an array of bytes, with checkpoints each ${checkpointBytes / 1024} KiB`, async () => {
    const tuning = { ...attachTuningDefaults, checkpointBytes };
    const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
      const cluster = await TestCluster.open({ peers: 4, replicas: 3, blockBytes: 64 * 1024, tuning });
      await cluster.createVolume("v", volumeBytes);
      const rig = new Rig(cluster);
      await rig.attach();
      for (const next of steps) await rig.run(next);
      await rig.expectAll();
      await rig.close();
    });
    await fc.assert(property, { numRuns: 20, seed: 7 });
  });
}
