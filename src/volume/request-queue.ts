// RequestQueue: writes, zeroings and sub-page writes in the order they came, into the log and the map. What fits goes in at once,
// synchronously; what has to wait (no room, a page locked by a read-modify-write, a checkpoint's pause) waits in line.
//
// Invariants [C18]: a request is applied after all that came before it and touch its pages; a page being read to be
// modified is locked, and requests that touch it wait; the map points at a page only once it is in the log.

import type { Counter, Metrics } from "#host";
import { pageBytes, TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ExtentMap, Leaf } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import type { LogWriter } from "./log-writer.ts";
import type { Job, MoveBatch, MovedPage, MoveOutcome, Waiting } from "./queued-job.ts";
import { bringsData, overlap } from "./queued-job.ts";
import { clearPart } from "./replay.ts";
import type { Pace } from "./write-pace.ts";

export interface RequestQueueDeps {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly log: LogWriter;
  /** The present bytes of one page, for read-modify-write. */
  readonly readPage: (page: number) => Promise<Uint8Array>;
  /** How fast new data goes in. */
  readonly pace: Pace;
  readonly metrics: Metrics;
}

/** Log positions after a request: a number when it went in at once. */
export type Position = number | Promise<number>;

export class RequestQueue {
  readonly #deps: RequestQueueDeps;
  #jobs: Job[] = [];
  /** Merged pages, read and ready, before everything that waits. */
  #merged: Job[] = [];
  readonly #locked = new Set<number>();
  #paused = 0;
  /** What is first in line is slowed down. */
  #isHeldBack = false;
  #lost: TorusError | null = null;
  readonly #written: Counter;
  #writtenBytes = 0;

  constructor(deps: RequestQueueDeps) {
    this.#deps = deps;
    this.#written = deps.metrics.counter(
      "torus_volume_written_bytes_total",
      "Bytes of pages written by clients, one copy",
    );
  }

  /** Bytes of pages written by clients so far. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Requests wait for room, for a page, or for a checkpoint; not those that are slowed down until space comes back. */
  get isWaiting(): boolean {
    return (this.#jobs.length > 0 || this.#merged.length > 0) && !this.#isHeldBack;
  }

  /** Whole pages from `first`. Copies what cannot go in at once. */
  write(first: number, bytes: Uint8Array): Position {
    const count = bytes.length / pageBytes;
    let done = 0;
    if (this.#mayPass(first, count) && !this.#deps.log.isFull) {
      done = this.#append(first, bytes, 0);
      this.#countWritten(done);
      if (done === count) return this.#deps.log.position;
    }
    return this.#enqueue((waiting) => ({
      kind: "write",
      first,
      count,
      bytes: Uint8Array.from(bytes),
      done,
      ...waiting,
    }));
  }

  /** Part of one page, from byte `within` of it. */
  merge(page: number, within: number, bytes: Uint8Array): Position {
    return this.#enqueue((waiting) => ({
      kind: "merge",
      first: page,
      count: 1,
      bytes: Uint8Array.from(bytes),
      within,
      ...waiting,
    }));
  }

  /** Whole pages that read as zeroes from now on. */
  zero(first: number, count: number): Position {
    if (this.#mayPass(first, count) && this.#zero(first, count)) return this.#deps.log.position;
    return this.#enqueue((waiting) => ({ kind: "zero", first, count, ...waiting }));
  }

  /** Resolves once all that came before and touches pages [first, first + count) is in the map, or has failed. */
  async settled(first: number, count: number): Promise<void> {
    await this.#enqueue((waiting) => ({ kind: "settled", first, count, ...waiting }));
  }

  /** The page again, if the map still has it at (id, offset) when its turn comes; else nothing [C17]. */
  move(page: number, id: number, offset: number, bytes: Uint8Array): Position {
    const move = { first: page, count: 1, bytes, id, offset };
    return this.#enqueue((waiting) => ({ kind: "move", ...move, ...waiting }));
  }

  /** The page again, whatever the map says: for who appends a whole log again, in its order, and alone. */
  again(page: number, bytes: Uint8Array): Position {
    return this.#enqueue((waiting) => ({ kind: "again", first: page, count: 1, bytes, ...waiting }));
  }

  /** Those of `pages` again to whose place the map still points when their turn comes; the others are left alone [C17]. */
  async clean(pages: readonly MovedPage[]): Promise<MoveOutcome> {
    const batch: MoveBatch = { pages, done: 0, moved: 0, undecided: [] };
    const position = await this.#enqueue((waiting) => ({
      kind: "clean",
      first: 0,
      count: 0,
      batch,
      ...waiting,
    }));
    return { position, moved: batch.moved, undecided: batch.undecided };
  }

  /** Nothing is appended until as many `resume`s. */
  pause(): void {
    this.#paused += 1;
  }

  resume(): void {
    this.#paused -= 1;
    this.drain();
  }

  /** Lets in what can go in now. */
  drain(): void {
    if (this.#paused > 0 || this.#lost !== null) return;
    this.#isHeldBack = false;
    const { exhaustion, isFull } = this.#deps.log;
    if (exhaustion !== null) {
      this.#rejectWaiting(exhaustion);
      return;
    }
    if (isFull && this.#hasData) {
      this.#isHeldBack = this.#deps.pace.awaitsSpace();
      if (!this.#isHeldBack) this.#rejectData();
    }
    if (!this.#isHeldBack && this.#drainMerged()) this.#drainJobs();
    if (this.#isHeldBack) this.#passThose();
  }

  /** True when none is left. */
  #drainMerged(): boolean {
    while (this.#merged.length > 0) {
      const job = this.#merged[0];
      if (!this.#apply(job)) return false;
      this.#merged.shift();
      this.#locked.delete(job.first);
    }
    return true;
  }

  #drainJobs(): void {
    let count = 0;
    while (count < this.#jobs.length) {
      const job = this.#jobs[count];
      if (this.#touchesLocked(job.first, job.count) || !this.#apply(job)) break;
      count += 1;
    }
    if (count > 0) this.#jobs.splice(0, count);
  }

  /**
   * What gives space back passes those in front of it that wait for space: pages that move, which ask the map when their turn comes, so that their
   * place in line means nothing, and trims of pages that nothing in front of them touches.
   */
  #passThose(): void {
    const left: Job[] = [];
    const mayPass = (job: Job): boolean => {
      if (this.#touchesLocked(job.first, job.count) || bringsData(job)) return false;
      const moves = job.kind === "move" || job.kind === "clean";
      return moves || ![...this.#merged, ...left].some((other) => overlap(job, other));
    };
    for (const job of this.#jobs) if (!mayPass(job) || !this.#apply(job)) left.push(job);
    this.#jobs = left;
  }

  get #hasData(): boolean {
    return this.#merged.length > 0 || this.#jobs.some(bringsData);
  }

  /** Everything that waits, and everything later, fails. */
  lose(error: TorusError): void {
    this.#lost = error;
    this.#rejectWaiting(error);
  }

  /** What brings new data fails; what frees space goes on [C16]. */
  #rejectData(): void {
    const error = new TorusError("full", "the pool has no space for new data: delete data, or add disks");
    const rejected = [...this.#merged, ...this.#jobs.filter(bringsData)];
    for (const job of this.#merged) this.#locked.delete(job.first);
    this.#merged = [];
    this.#jobs = this.#jobs.filter((job) => !bringsData(job));
    for (const job of rejected) job.reject(error);
  }

  #rejectWaiting(error: TorusError): void {
    const jobs = [...this.#merged, ...this.#jobs];
    for (const job of this.#merged) this.#locked.delete(job.first);
    this.#merged = [];
    this.#jobs = [];
    for (const job of jobs) job.reject(error);
  }

  #enqueue(make: (waiting: Waiting) => Job): Promise<number> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    return new Promise((resolve, reject) => {
      this.#jobs.push(make({ resolve, reject }));
      this.drain();
    });
  }

  #countWritten(pages: number): void {
    this.#written.add(pages * pageBytes);
    this.#writtenBytes += pages * pageBytes;
  }

  #mayPass(first: number, count: number): boolean {
    return (
      this.#lost === null &&
      this.#paused === 0 &&
      this.#jobs.length === 0 &&
      this.#merged.length === 0 &&
      this.#deps.log.exhaustion === null &&
      !this.#touchesLocked(first, count)
    );
  }

  #touchesLocked(first: number, count: number): boolean {
    if (this.#locked.size === 0) return false;
    for (const page of this.#locked) if (page >= first && page < first + count) return true;
    return false;
  }

  /** True when the job is in the log (or has begun its read). */
  #apply(job: Job): boolean {
    switch (job.kind) {
      case "write": {
        const before = job.done;
        job.done = this.#append(job.first, job.bytes, before);
        this.#countWritten(job.done - before);
        if (job.done < job.count) return false;
        break;
      }
      case "zero":
        if (!this.#zero(job.first, job.count)) return false;
        break;
      case "settled":
        break;
      case "merge":
        void this.#merge(job);
        return true;
      case "move":
        if (!this.#move(job)) return false;
        break;
      case "again":
        if (this.#appendUpTo(1, job.first, job.bytes, 0) < 1) return false;
        break;
      case "clean":
        if (!this.#clean(job.batch)) return false;
        break;
    }
    job.resolve(this.#deps.log.position);
    return true;
  }

  #move(job: Job & { kind: "move" }): boolean {
    const { map } = this.#deps;
    const leaf = map.leafNow(job.first);
    if (leaf === null) {
      map.load(job.first).then(
        () => this.drain(),
        (error: unknown) => job.reject(error as Error),
      );
      return false;
    }
    const slot = job.first % leafPages;
    if (leaf.ids[slot] !== job.id || leaf.offsets[slot] !== job.offset) return true;
    // What must be appended again is not slowed down.
    return this.#appendUpTo(1, job.first, job.bytes, 0) === 1;
  }

  /** True when all of the batch is in the log, or left out. Never waits for leaves or locks: others are behind it. */
  #clean(batch: MoveBatch): boolean {
    const { map, table, log } = this.#deps;
    while (batch.done < batch.pages.length) {
      const moved = batch.pages[batch.done];
      const { page, id, from, bytes } = moved;
      const leaf = map.leafNow(page);
      const slot = page % leafPages;
      if (leaf === null || this.#locked.has(page)) batch.undecided.push(moved);
      // The id may have been given to another block since: only with its ref is it a place.
      else if (leaf.ids[slot] === id && leaf.offsets[slot] === from.offset && table.isNamed(id, from.ref)) {
        if (!log.makeRoom(true)) return false;
        const place = log.appendPage(page, bytes, 0, from);
        map.setIn(map.changeLeaf(page), slot, place.id, place.offset, place.checksum);
        batch.moved += 1;
      }
      batch.done += 1;
    }
    return true;
  }

  async #merge(job: Job & { kind: "merge" }): Promise<void> {
    this.#locked.add(job.first);
    try {
      const page = Uint8Array.from(await this.#deps.readPage(job.first));
      page.set(job.bytes, job.within);
      if (this.#lost !== null) throw this.#lost;
      this.#merged.push({ ...job, kind: "write", bytes: page, done: 0 });
    } catch (error) {
      this.#locked.delete(job.first);
      job.reject(error as Error);
    }
    this.drain();
  }

  /** Appends pages from number `done` on while there is room. Returns how many are in. */
  #append(first: number, bytes: Uint8Array, done: number): number {
    const count = bytes.length / pageBytes;
    const { pace } = this.#deps;
    const end = Math.min(count, done + pace.allowedPages());
    this.#isHeldBack = end === done && done < count;
    const i = this.#appendUpTo(end, first, bytes, done);
    pace.took(i - done);
    return i;
  }

  #appendUpTo(end: number, first: number, bytes: Uint8Array, done: number): number {
    const { log, map } = this.#deps;
    let leaf: Leaf | null = null;
    let i = done;
    while (i < end) {
      if (log.roomPages === 0 && !log.makeRoom()) return i;
      const page = first + i;
      const slot = page % leafPages;
      if (leaf === null || slot === 0) leaf = map.changeLeaf(page);
      // A page occurs once in a record: a second write of it begins a new one.
      if (log.isGathering(leaf.ids[slot], leaf.offsets[slot])) {
        log.splitRecord();
        continue;
      }
      const { id, offset, checksum } = log.appendPage(page, bytes, i * pageBytes);
      map.setIn(leaf, slot, id, offset, checksum);
      i += 1;
    }
    return i;
  }

  #zero(first: number, count: number): boolean {
    const { log, map } = this.#deps;
    if (!log.makeRoomForRange()) return false;
    log.appendRange(first, count);
    clearPart(map, first, count);
    return true;
  }
}

/** All positions, or the first failure once all have settled. */
export async function settleAll(positions: readonly Position[]): Promise<number[]> {
  const settled = await Promise.allSettled(positions);
  return settled.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
}
