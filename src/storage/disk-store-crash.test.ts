// Power cuts under load, from seeds: random appends, syncs, seals, puts, removals and fences, the power failing in the
// middle, several times over. What was answered as durable is there with its bytes, nothing is there that was never
// written, what was removed stays away, fences never go back.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Random } from "#host";
import type { BlockRef, BlockStatus } from "#model";
import { blockRefKey, crc32, isTorusError, verifyRecords } from "#model";
import { SimulatedDrive } from "../sim/disk.ts";
import { SeededRandom } from "../sim/random.ts";
import { openOn, SteppedClock } from "./disk-store.fixture.ts";
import type { DiskStore } from "./disk-store.ts";
import { sampleBlock } from "./record.fixture.ts";

const blockBytes = 128 * 1024;
/** Every other store writes in the background whatever comes while it flushes. */
const optionsOf = (seed: number) => ({
  ...{ blockBytes, sizeBytes: 4 * 2 ** 20, bufferBytesMax: 4 * blockBytes },
  ...(seed % 2 === 0 ? {} : { asideBytesMin: 1 }),
});
const recordsMax = 10;
const fenceVolumes = [101, 102, 103];

/** What one block may be, as far as its user knows. `next` is what a change under way may have made of it. */
interface Expected {
  readonly ref: BlockRef;
  readonly block: ReturnType<typeof sampleBlock>;
  state: Known;
  next: Known | null;
  /**
   * The most that was ever sent. A block that is removed and appended anew may find its old bytes behind the new ones in
   * the same slot after a crash: bytes once sent for a place never change, so they are what would be sent again.
   */
  sent: number;
}

type Known =
  | { readonly kind: "absent" }
  /** Held up to `held`, `durable` of it for certain. */
  | { readonly kind: "open"; readonly held: number; readonly durable: number }
  | { readonly kind: "sealed"; readonly length: number };

class Crowd {
  readonly random: Random;
  readonly blocks: Expected[];
  readonly fencesAsked: Map<number, number> = new Map();
  readonly fencesAnswered: Map<number, number> = new Map();
  dead = false;
  readonly store: DiskStore;

  /** A crowd dies with its store; `before` is the one whose blocks and fences this one goes on with. */
  constructor(store: DiskStore, random: Random, before: Crowd | null) {
    this.store = store;
    this.random = random;
    if (before !== null) {
      this.blocks = before.blocks;
      this.fencesAsked = before.fencesAsked;
      this.fencesAnswered = before.fencesAnswered;
      return;
    }
    this.blocks = Array.from({ length: 12 }, (_, i) => {
      const ref = { type: i % 4 === 3 ? 1 : 0, volume: 1 + (i % 2), epoch: 1, index: 1 + (i >> 1) };
      return {
        ref,
        block: sampleBlock(ref, recordsMax, 1 + (i % 2)),
        state: { kind: "absent" },
        next: null,
        sent: 0,
      };
    });
  }

  below(limit: number): number {
    return this.random.uint32() % limit;
  }

  start(): void {
    for (const block of this.blocks) void this.#keepChanging(block);
    for (const volume of fenceVolumes) void this.#keepFencing(volume);
  }

  async #keepChanging(block: Expected): Promise<void> {
    while (!this.dead) {
      try {
        await this.#change(block);
      } catch (error) {
        if (this.dead) return;
        assert.ok(isTorusError(error, "full"), `${blockRefKey(block.ref)}: ${error}`);
        block.next = null;
      }
      await new Promise(setImmediate);
    }
  }

  async #change(block: Expected): Promise<void> {
    const { ref, state } = block;
    const choice = this.below(10);
    if (choice === 0) return this.#put(block);
    if (choice === 1 && state.kind !== "absent") return this.#remove(block);
    if (state.kind === "sealed") return this.#readBack(block, state.length);
    if (state.kind === "open" && choice < 4) {
      const [progress] = await this.store.sync([ref]);
      if (!this.dead) block.state = { kind: "open", ...progress };
      return;
    }
    if (state.kind === "open" && choice === 4 && state.held > 0) return this.#seal(block, state.held);
    return this.#append(block, state.kind === "open" ? state.held : 0);
  }

  async #append(block: Expected, held: number): Promise<void> {
    const { ref, block: sample, state } = block;
    const from = sample.offsets.indexOf(held);
    const to = Math.min(recordsMax, from + 1 + this.below(3));
    if (from === to) return;
    const durable = state.kind === "open" ? state.durable : 0;
    block.state = { kind: "open", held: sample.offsets[to], durable };
    block.sent = Math.max(block.sent, sample.offsets[to]);
    // Now and then a sync made while appends come: it may promise less than they bring, and must keep that.
    const synced = this.below(2) === 0 ? this.#syncLater(block) : null;
    try {
      // A record at a time, without waiting for the answers.
      const answers = await Promise.all(
        Array.from({ length: to - from }, (_, i) => {
          const [start, end] = [sample.offsets[from + i], sample.offsets[from + i + 1]];
          return this.store.append(ref, start, sample.bytes.subarray(start, end), blockBytes);
        }),
      );
      const last = answers.at(-1)!;
      if (!this.dead) block.state = { kind: "open", ...last };
      // Bytes that come, and are written, while its fdatasync is under way.
      for (let i = this.below(8); i > 0 && synced !== null; i--) await new Promise(setImmediate);
      if (synced !== null && to < recordsMax && !this.dead) await this.#append(block, sample.offsets[to]);
    } catch (error) {
      if (!this.dead) block.state = state;
      throw error;
    } finally {
      await synced;
    }
  }

  async #syncLater(block: Expected): Promise<void> {
    const [progress] = await this.store.sync([block.ref]).catch(() => [null]);
    if (progress === null || this.dead || block.state.kind !== "open") return;
    const { held, durable } = block.state;
    block.state = { kind: "open", held, durable: Math.max(durable, progress.durable) };
  }

  async #seal(block: Expected, held: number): Promise<void> {
    const { ref, block: sample } = block;
    const length = sample.offsets[1 + this.below(sample.offsets.indexOf(held))];
    block.next = { kind: "sealed", length };
    await this.store.seal(ref, length, crc32(sample.bytes.subarray(0, length)));
    this.#became(block);
  }

  async #put(block: Expected): Promise<void> {
    const { ref, block: sample, state } = block;
    const length = state.kind === "sealed" ? state.length : sample.offsets[1 + this.below(recordsMax)];
    const bytes = sample.bytes.subarray(0, length);
    block.next = { kind: "sealed", length };
    block.sent = Math.max(block.sent, length);
    await this.store.put(ref, bytes, crc32(bytes), this.below(2) === 0 ? "write" : "repair");
    this.#became(block);
  }

  async #remove(block: Expected): Promise<void> {
    block.next = { kind: "absent" };
    await this.store.remove(block.ref);
    this.#became(block);
  }

  #became(block: Expected): void {
    if (this.dead || block.next === null) return;
    block.state = block.next;
    block.next = null;
  }

  async #readBack(block: Expected, length: number): Promise<void> {
    const bytes = await this.store.read(block.ref, 0, length);
    assert.ok(Buffer.compare(bytes, block.block.bytes.subarray(0, length)) === 0, "read gives what was put");
  }

  async #keepFencing(volume: number): Promise<void> {
    while (!this.dead) {
      const epoch = (this.fencesAsked.get(volume) ?? 0) + 1 + this.below(3);
      this.fencesAsked.set(volume, epoch);
      try {
        await this.store.fence(volume, epoch, 1, 1, null);
        if (!this.dead) this.fencesAnswered.set(volume, epoch);
      } catch (error) {
        assert.ok(this.dead, String(error));
      }
      for (let i = this.below(40); i > 0 && !this.dead; i--) await new Promise(setImmediate);
    }
  }

  /** Compares a store opened after the crash with all that is known, and takes on what it found. */
  async check(store: DiskStore, label: string): Promise<void> {
    const known = new Set(this.blocks.map(({ ref }) => blockRefKey(ref)));
    for (const { ref } of (await store.list(null, 1000)).blocks) {
      assert.ok(known.has(blockRefKey(ref)), `${label}: ${blockRefKey(ref)} was never written`);
    }
    for (const block of this.blocks) {
      const [status] = await store.stat([block.ref]);
      const where = `${label}: ${blockRefKey(block.ref)} is ${JSON.stringify(status)}, expected ${JSON.stringify(block.state)} or ${JSON.stringify(block.next)}`;
      const allowed = [block.state, block.next].some(
        (known) => known !== null && allows(known, status, block.sent),
      );
      assert.ok(allowed, where);
      if (status.held > 0) {
        const bytes = await store.read(block.ref, 0, status.held);
        assert.ok(
          Buffer.compare(bytes, block.block.bytes.subarray(0, status.held)) === 0,
          `${where}: other bytes`,
        );
        assert.equal(status.checksum, crc32(bytes), where);
      }
      if (status.state === "open") {
        assert.ok(status.cut && status.durable === status.held, where);
        const bytes = block.block.bytes.subarray(0, status.held);
        assert.equal(verifyRecords(bytes, block.ref, 0, 0, null).length, status.held, where);
      }
      block.state = knownOf(status);
      block.next = null;
    }
    for (const volume of fenceVolumes) {
      const answered = this.fencesAnswered.get(volume) ?? 0;
      const asked = this.fencesAsked.get(volume) ?? 0;
      if (answered > 1) {
        await assert.rejects(store.fence(volume, answered - 1, 1, 1, null), (error) =>
          isTorusError(error, "fenced"),
        );
      }
      if (asked > 0 && this.below(3) === 0) await store.fence(volume, asked, 1, 1, null);
    }
  }
}

function allows(known: Known, status: BlockStatus, sent: number): boolean {
  if (known.kind === "absent") return status.state === "absent";
  if (known.kind === "sealed") return status.state === "sealed" && status.held === known.length;
  if (status.state === "absent") return known.durable === 0;
  return status.state === "open" && status.held >= known.durable && status.held <= sent;
}

function knownOf({ state, held, durable }: BlockStatus): Known {
  if (state === "absent") return { kind: "absent" };
  return state === "open" ? { kind: "open", held, durable } : { kind: "sealed", length: held };
}

async function run(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const clock = new SteppedClock();
  // Also an fdatasync that takes longer than bytes wait in memory, so that they are written while it is under way.
  const drive = new SimulatedDrive(
    { capacityBytes: 2 ** 30, flushMs: seed % 3 === 0 ? 15 : 1 },
    { random, clock },
  );
  const options = optionsOf(seed);
  let { store } = await clock.until(openOn(drive.mount(), options, seed, clock));
  let crowd: Crowd | null = null;
  for (let round = 0; round < 4; round++) {
    crowd = new Crowd(store, random, crowd);
    crowd.start();
    for (let steps = 5 + crowd.below(120); steps > 0; steps--) await clock.step();
    crowd.dead = true;
    if (crowd.below(4) === 0) drive.killProcess();
    drive.cutPower();
    ({ store } = await clock.until(openOn(drive.mount(), options, seed, clock)));
    await clock.until(crowd.check(store, `seed ${seed} round ${round}`));
  }
}

test("what was durable survives power cuts, and nothing else appears", async () => {
  const [from, count] = [Number(process.env["TORUS_SEED"] ?? 1), Number(process.env["TORUS_SEEDS"] ?? 20)];
  for (let seed = from; seed < from + count; seed++) await run(seed);
});
