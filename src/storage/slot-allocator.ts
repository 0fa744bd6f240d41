// SlotAllocator: hands out free slots, and makes segments ahead of need. Writing into extents that were filled with
// zeroes before costs a third less than into new ones, so the file grows in the background, a segment at a time, while
// there are slots left; who finds none waits for the growth. A slot comes back only when its freeing is durable.
//
// Space is kept back in shares, so that what frees space, or saves data, still finds some when the store is full:
// new data leaves the whole reserve alone; what frees space (blocks of trims and of cleaning, and those that end a log whose next
// block was refused) may use half of it; the first blocks of an epoch (what an attach appends to recover a volume) three quarters;
// INodes (checkpoints) all.

import type { Clock, Disk, Log } from "#host";
import type { AppendPurpose, BlockRef } from "#model";
import { blockType, formatBytes, TorusError } from "#model";
import type { DataFile } from "./data-file.ts";
import type { Health } from "./health.ts";
import type { SlotClass } from "./layout.ts";
import { classFor, segmentsIn, slotsOf } from "./layout.ts";

export type Share = "newData" | "cleaning" | "recovery" | "checkpoint";

/** Data blocks of an epoch up to this index count as its attach's: recovery appends the old tail first of all. */
const recoveryIndexMax = 4;

export function shareOf(ref: BlockRef, purpose: AppendPurpose = "data"): Share {
  if (ref.type !== blockType.data) return "checkpoint";
  if (ref.index <= recoveryIndexMax) return "recovery";
  return purpose === "reserve" ? "cleaning" : "newData";
}

export interface SlotAllocatorOptions {
  readonly sizeBytes: number;
}

export interface SlotAllocatorDeps {
  readonly data: DataFile;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly health: Health;
}

interface Waiter {
  readonly share: Share;
  resolve(slot: number): void;
  reject(error: TorusError): void;
}

interface ClassState {
  readonly slotBytes: number;
  readonly perSegment: number;
  /** Growth starts when fewer are free. */
  readonly readySlots: number;
  readonly free: number[];
  /** Freed, not durably yet. */
  freeing: number;
  waiters: Waiter[];
}

/** A disk that had no space is not asked again for so long. */
const retryMs = 5000;
/** Left to the file system, so that small files can still be written. */
const spareBytes = 16 * 1024 * 1024;
/** The part of the store that is kept back from new data, and the least of it in large slots. */
const reservePart = 0.02;
const reserveSlotsMin = 8;
const smallSlotsReady = 64;

export class SlotAllocator {
  readonly #deps: SlotAllocatorDeps;
  readonly #sizeBytes: number;
  readonly #segmentsMax: number;
  readonly #classes: ClassState[];
  readonly #reserveSlots: number;
  #growing: Promise<void> | null = null;
  #growBlockedUntilMs = 0;
  #usedBytes = 0;
  #closed = false;

  constructor(options: SlotAllocatorOptions, deps: SlotAllocatorDeps) {
    this.#deps = deps;
    const { layout } = deps.data;
    this.#sizeBytes = options.sizeBytes;
    this.#segmentsMax = segmentsIn(layout, options.sizeBytes);
    const last = layout.classes.length - 1;
    this.#classes = layout.classes.map((slotBytes, slotClass) => {
      const perSegment = slotsOf(layout, slotClass);
      const readySlots = slotClass === last ? Math.max(2, perSegment) : Math.min(smallSlotsReady, perSegment);
      return { slotBytes, perSegment, readySlots, free: [], freeing: 0, waiters: [] };
    });
    const slots = this.#segmentsMax * slotsOf(layout, last);
    const wanted = Math.max(reserveSlotsMin, Math.ceil(slots * reservePart));
    this.#reserveSlots = Math.min(wanted, Math.floor(slots / 4));
  }

  /** Bytes of slots in use, at their full size. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Bytes of blocks of new data that still find room. */
  get availableBytes(): number {
    const last = this.#classes.length - 1;
    return Math.max(0, this.#room(last) - this.#kept("newData")) * this.#classes[last].slotBytes;
  }

  /** Recovery says what it found of each slot. */
  found(slot: number, free: boolean): void {
    const slotClass = this.#deps.data.classOf(slot);
    const state = this.#classes[slotClass];
    if (free) state.free.push(slot);
    else this.#usedBytes += state.slotBytes;
  }

  /** After recovery: lower slots first, and segments ahead. */
  start(): void {
    for (const { free } of this.#classes) free.sort((a, b) => b - a);
    this.#growAhead();
  }

  /** A free slot for `bytes`. Rejects with `full` when `share` has none left, `poisoned`, `closed`. */
  allocate(bytes: number, share: Share): Promise<number> {
    const { layout } = this.#deps.data;
    let slotClass = classFor(layout, bytes);
    // Small blocks go into large slots rather than nowhere.
    if (slotClass < layout.classes.length - 1 && this.#isExhausted(slotClass))
      slotClass = layout.classes.length - 1;
    const state = this.#classes[slotClass];
    if (!this.#mayTake(slotClass, share)) return Promise.reject(this.#full(share));
    if (state.waiters.length === 0 && state.free.length > 0) {
      const slot = this.#take(state);
      this.#growAhead();
      return Promise.resolve(slot);
    }
    return new Promise((resolve, reject) => {
      state.waiters.push({ share, resolve, reject });
      this.#growAhead();
    });
  }

  /** Its entry says free now, not durably yet. */
  freeing(slot: number): void {
    this.#classes[this.#deps.data.classOf(slot)].freeing += 1;
  }

  /** Its freeing is durable: the slot may be used again. */
  freed(slot: number): void {
    this.#classes[this.#deps.data.classOf(slot)].freeing -= 1;
    this.giveBack(slot);
  }

  /** Gives back a slot whose entry never named a block. */
  giveBack(slot: number): void {
    const state = this.#classes[this.#deps.data.classOf(slot)];
    this.#usedBytes -= state.slotBytes;
    state.free.push(slot);
    this.#serve();
  }

  /** Rejects those who wait and resolves when no growth is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#rejectAll(new TorusError("closed", "the store is closed"));
    await this.#growing;
  }

  /** After the store was poisoned. */
  fail(error: TorusError): void {
    this.#closed = true;
    this.#rejectAll(error);
  }

  #rejectAll(error: TorusError): void {
    for (const state of this.#classes) {
      const waiters = state.waiters;
      state.waiters = [];
      for (const waiter of waiters) waiter.reject(error);
    }
  }

  #take(state: ClassState): number {
    this.#usedBytes += state.slotBytes;
    return state.free.pop() as number;
  }

  /** Segments that can still be made. */
  #growable(): number {
    const { data, clock } = this.#deps;
    if (clock.monotonicMs() < this.#growBlockedUntilMs) return 0;
    return Math.max(0, this.#segmentsMax - data.segments);
  }

  #isExhausted(slotClass: SlotClass): boolean {
    const state = this.#classes[slotClass];
    return state.free.length + state.freeing <= state.waiters.length && this.#growable() === 0;
  }

  #mayTake(slotClass: SlotClass, share: Share): boolean {
    return this.#room(slotClass) > this.#kept(share);
  }

  /** Slots that are free, will be, or can be made, and that nobody waits for. */
  #room(slotClass: SlotClass): number {
    const state = this.#classes[slotClass];
    return state.free.length + state.freeing + this.#growable() * state.perSegment - state.waiters.length;
  }

  /** Large slots that `share` must leave. */
  #kept(share: Share): number {
    switch (share) {
      case "newData":
        return this.#reserveSlots;
      case "cleaning":
        return Math.ceil(this.#reserveSlots / 2);
      case "recovery":
        return Math.ceil(this.#reserveSlots / 4);
      case "checkpoint":
        return 0;
    }
  }

  #growAhead(): void {
    if (this.#growing !== null || this.#closed || this.#growable() === 0) return;
    // The large class first, unless someone waits for a small slot.
    const wanting = this.#classes
      .map((state, slotClass) => ({ slotClass, state }))
      .filter(({ state }) => state.free.length - state.waiters.length < state.readySlots)
      .sort((a, b) => b.state.waiters.length - a.state.waiters.length || b.slotClass - a.slotClass);
    if (wanting.length === 0) return;
    // Not before this turn is over, even if it fails at once: it is under way from here on.
    this.#growing = this.#grow(wanting[0].slotClass).then(() => {
      this.#growing = null;
      this.#serve();
      this.#growAhead();
    });
  }

  /** Resolves when there is another segment, or none is to be had. */
  async #grow(slotClass: SlotClass): Promise<void> {
    const { data, disk, log } = this.#deps;
    try {
      const { freeBytes } = disk.space();
      if (freeBytes < data.layout.strideBytes + spareBytes) {
        throw new TorusError("full", `the file system has only ${formatBytes(freeBytes)} left`);
      }
      const index = await data.growSegment(slotClass);
      const first = index * data.layout.slotsMax;
      const { free, perSegment } = this.#classes[slotClass];
      // Slots are taken from the end: used ones before new ones, lower ones before higher ones.
      free.unshift(...Array.from({ length: perSegment }, (_, place) => first + perSegment - 1 - place));
    } catch (error) {
      // Whatever is not a lack of space has poisoned the store, or will when it is tried again.
      log.warn("The store cannot grow to its size.", { error });
      this.#growBlockedUntilMs = this.#deps.clock.monotonicMs() + retryMs;
    }
  }

  /** Gives free slots to those who wait, in order, and refuses those for whom none will come. */
  #serve(): void {
    for (const state of this.#classes) {
      while (state.waiters.length > 0 && state.free.length > 0) {
        (state.waiters.shift() as Waiter).resolve(this.#take(state));
      }
      if (this.#growing !== null || this.#growable() > 0) continue;
      while (state.waiters.length > state.freeing) {
        const waiter = state.waiters.pop() as Waiter;
        waiter.reject(this.#full(waiter.share));
      }
    }
  }

  #full(share: Share): TorusError {
    const kept = share === "checkpoint" ? "" : ", the rest is kept for cleaning, recovery and checkpoints";
    return new TorusError(
      "full",
      `the store has no room for new blocks: ${formatBytes(this.#usedBytes)} of ${formatBytes(this.#sizeBytes)} are used${kept}. Delete data, or give it more with --size or another disk`,
    );
  }
}
