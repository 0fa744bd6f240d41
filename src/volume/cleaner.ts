// Cleaner: gives back the space of blocks that are mostly dead. It reads one whole, asks the map which of its pages are still there, and lets
// the queue append those again; with its last live page gone the block leaves the table, and when the next checkpoint is committed no INode
// in force needs it. Peers then collect it.
//
// What keeps it safe is not here: a page moves only if the map points at its old place in the very turn in which it is appended (RequestQueue.clean),
// and its record says so for replay [C17]. Whatever goes wrong here only leaves garbage.
//
// A block is read whole, in one request: it is checked against its seal, and the records' headers, which say what it has, lie all over it.

import type { Reader } from "#distributor";
import type { Clock, Counter, Log, Metrics, Timer } from "#host";
import type { BlockRef } from "#model";
import { blockRefKey, crc32, isTorusError, messageOf, pageBytes, TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { CleanCandidate, CleanerMachineOptions } from "./cleaner-machine.ts";
import { CleanerMachine } from "./cleaner-machine.ts";
import type { ClusterView, PoolUse } from "./cluster-view.ts";
import type { ExtentMap } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import type { LogWriter } from "./log-writer.ts";
import type { MovedPage } from "./queued-job.ts";
import { eachPage } from "./replay.ts";
import type { RequestQueue } from "./request-queue.ts";

export interface CleanerOptions extends Omit<CleanerMachineOptions, "pagesPerBlock" | "pageBytes"> {
  /** How often it is looked whether there is something to clean. */
  readonly lookEveryMs: number;
  /** Pages of one append, without pressure. */
  readonly stepPages: number;
}

export const cleanerDefaults: CleanerOptions = {
  garbageMin: 0.3,
  garbageMax: 0.6,
  roomyGarbageMin: 0.5,
  roomyGarbageMax: 0.75,
  roomyUseMin: 0.4,
  roomyUseMax: 0.7,
  poolUseMin: 0.8,
  poolUseMax: 0.95,
  gainBlocksMin: 4,
  rateMin: 4 * 2 ** 20,
  rateMax: 64 * 2 ** 20,
  clientShareMax: 4,
  collectMs: 15 * 60_000,
  checkpointBytes: 256 * 2 ** 20,
  checkpointEveryMs: 2000,
  patienceMs: 200,
  lookEveryMs: 1000,
  stepPages: 64,
};

export interface CleanerDeps {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly log: LogWriter;
  readonly queue: RequestQueue;
  readonly reader: Reader;
  readonly view: ClusterView;
  /** Something besides the volume's head needs the block: cleaning it gives nothing back. */
  readonly isPinned: (ref: BlockRef) => boolean;
  /** How full the pool is for new data, as peers themselves said a moment ago. */
  readonly pool: () => PoolUse;
  /** The pool may soon have no space for new data. */
  readonly isTight: () => boolean;
  /** The attachment serves, and is not about to end. */
  readonly mayClean: () => boolean;
  readonly checkpointSoon: () => void;
  readonly clock: Clock;
  readonly logger: Log;
  readonly metrics: Metrics;
}

/** A page of which it could not be said whether it is live is asked about so often. */
const triesMax = 4;
/** How long a block that cannot be read is left alone. */
const badBlockMs = 10 * 60_000;
const failedWaitMs = 1000;
/** Blocks read at once. */
const readsMax = 8;
/** At full pressure a step is so many times longer. */
const stepGrowth = 3;

interface PendingPage extends MovedPage {
  tries: number;
}

export class Cleaner {
  readonly #options: CleanerOptions;
  readonly #deps: CleanerDeps;
  readonly #machine: CleanerMachine;
  readonly #cleaned: Counter;
  readonly #moved: Counter;
  /** Pages to move next, read and live a moment ago. */
  #pending: PendingPage[] = [];
  /** Blocks that could not be read, until when. */
  readonly #bad = new Map<string, number>();
  #surveyedMs = Number.NEGATIVE_INFINITY;
  #deathsSeen: number;
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: CleanerOptions, deps: CleanerDeps) {
    this.#options = options;
    this.#deps = deps;
    const { view, clock, metrics, table } = deps;
    const pagesPerBlock = view.cluster.blockBytes / pageBytes;
    this.#machine = new CleanerMachine({ ...options, pagesPerBlock, pageBytes }, clock.monotonicMs());
    this.#deathsSeen = table.deaths;
    this.#cleaned = metrics.counter(
      "torus_volume_cleaned_bytes_total",
      "Bytes of blocks read to copy their live pages elsewhere",
    );
    this.#moved = metrics.counter(
      "torus_volume_moved_bytes_total",
      "Bytes of live pages copied out of mostly dead blocks, one copy",
    );
    this.#schedule(options.lookEveryMs);
  }

  /** Bytes of blocks that may come back: what cleaning can gain, and what has died and is not collected yet. */
  get debtBytes(): number {
    return this.#machine.debtBytes;
  }

  /** Begins nothing more. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    this.#timer = this.#deps.clock.setTimer(delayMs, () => {
      this.#turn().then(
        (waitMs) => {
          if (!this.#closed) this.#schedule(waitMs);
        },
        (error: unknown) => this.#failed(error),
      );
    });
  }

  #failed(error: unknown): void {
    // What is not an answer of the outside is a mistake of ours.
    if (!(error instanceof TorusError)) throw error;
    this.#pending = [];
    if (this.#closed || isTorusError(error, "closed", "attachment-lost")) return;
    this.#deps.logger.debug("cleaning waits", { reason: messageOf(error) });
    this.#schedule(failedWaitMs);
  }

  /** One look, and one step if it is time. Returns when to come again. */
  async #turn(): Promise<number> {
    const { clock, queue, log, mayClean, checkpointSoon, view } = this.#deps;
    const nowMs = clock.monotonicMs();
    const [told, asked] = [view.pool(), this.#deps.pool()];
    const use = Math.max(told.use, asked.use);
    const copyBytes = asked.copyBytes === 0 ? told.copyBytes : asked.copyBytes;
    this.#machine.poolIs({ use, copyBytes, isFull: log.isFull, returns: log.spaceReturns });
    this.#machine.clientsWrote(nowMs, queue.writtenBytes);
    this.#countDeaths(nowMs);
    if (nowMs - this.#surveyedMs >= this.#options.lookEveryMs) this.#survey(nowMs);
    const idle = !this.#machine.isDue && (this.#pending.length === 0 || log.isFull);
    if (this.#machine.takeCheckpoint(nowMs, idle)) checkpointSoon();
    if (idle || !mayClean() || log.exhaustion !== null) return this.#options.lookEveryMs;
    const waitMs = this.#machine.waitMs(nowMs, queue.isWaiting);
    if (waitMs > 0) return Math.min(waitMs, this.#options.lookEveryMs);
    return (await this.#step()) ? 0 : this.#options.lookEveryMs;
  }

  #countDeaths(nowMs: number): void {
    const { deaths } = this.#deps.table;
    this.#machine.died(nowMs, deaths - this.#deathsSeen);
    this.#deathsSeen = deaths;
  }

  #survey(nowMs: number): void {
    for (const [key, untilMs] of this.#bad) if (untilMs <= nowMs) this.#bad.delete(key);
    this.#surveyedMs = nowMs;
    this.#machine.survey(this.#candidates());
  }

  *#candidates(): Generator<CleanCandidate> {
    const { table, log, isPinned } = this.#deps;
    const { epoch } = log.placement.logmap;
    const { index } = log.endPoint();
    for (const id of table.settledIds()) {
      const ref = table.ref(id);
      if (isPinned(ref) || (this.#bad.size > 0 && this.#bad.has(blockRefKey(ref)))) continue;
      // Blocks of older epochs are older than all of this one.
      const age =
        ref.epoch === epoch ? Math.max(1, index - ref.index) : index + Math.max(1, epoch - ref.epoch);
      yield { id, livePages: table.liveOf(id), age };
    }
  }

  /** Appends some live pages again and waits until every member holds them. False when there was nothing to do. */
  async #step(): Promise<boolean> {
    const { queue, log, clock } = this.#deps;
    const pages = this.#pagesOfStep;
    await this.#gather(pages);
    const batch = this.#pending.splice(0, pages);
    if (batch.length === 0 || this.#closed) return false;
    const { position, moved, undecided } = await queue.clean(batch);
    this.#machine.moved(clock.monotonicMs(), moved * pageBytes);
    this.#moved.add(moved * pageBytes);
    for (const page of undecided as PendingPage[]) {
      page.tries += 1;
      if (page.tries < triesMax) this.#pending.push(page);
    }
    await Promise.all(undecided.map(({ page }) => this.#deps.map.load(page)));
    await log.waitHeld(position);
    return true;
  }

  get #pagesOfStep(): number {
    const { log, view, isTight } = this.#deps;
    const pages = Math.floor(this.#options.stepPages * (1 + stepGrowth * this.#machine.pressure));
    if (!log.isFull && !isTight()) return pages;
    // What is under way when the pool turns out to be full must find room in what peers keep back.
    return Math.min(pages, Math.ceil(view.cluster.blockBytes / pageBytes / 2));
  }

  /** Reads blocks until there are pages for a step, or no block is worth it. */
  async #gather(pages: number): Promise<void> {
    while (this.#pending.length < pages && !this.#closed) {
      const reads: Promise<void>[] = [];
      let expected = this.#pending.length;
      while (expected < pages && reads.length < readsMax) {
        const candidate = this.#machine.next();
        if (candidate === null) break;
        expected += candidate.livePages;
        reads.push(this.#read(candidate.id));
      }
      if (reads.length === 0) {
        // What was chosen is used up: the next look chooses again.
        this.#surveyedMs = Number.NEGATIVE_INFINITY;
        return;
      }
      await Promise.all(reads);
    }
  }

  /** Reads block `id` and adds its live pages to those that are to be moved. */
  async #read(id: number): Promise<void> {
    const { table, reader, map, clock, logger } = this.#deps;
    const entry = table.entry(id);
    // It was chosen a while ago: it may be dead, or its id another's.
    if (entry === null || !table.isSettled(id) || !this.#machine.isWorth(entry.live)) return;
    const { ref, length, checksum } = entry;
    let bytes: Uint8Array;
    try {
      bytes = await reader.read(ref, 0, length, (whole) => crc32(whole) === checksum);
    } catch (error) {
      if (!isTorusError(error, "corrupt")) throw error;
      // It may have died, and been collected, while it was asked for.
      if (!table.isNamed(id, ref)) return;
      logger.warn("a block cannot be cleaned: no peer has it whole", {
        block: blockRefKey(ref),
        reason: error.message,
      });
      this.#bad.set(blockRefKey(ref), clock.monotonicMs() + badBlockMs);
      return;
    }
    this.#machine.read(length);
    this.#cleaned.add(length);
    const places: { page: number; at: number }[] = [];
    eachPage(bytes, (page, at) => places.push({ page, at }));
    for (const { page, at } of places) {
      const leaf = map.leafNow(page) ?? (await map.load(page));
      const slot = page % leafPages;
      if (leaf.ids[slot] !== id || leaf.offsets[slot] !== at) continue;
      const content = bytes.subarray(at * pageBytes, (at + 1) * pageBytes);
      this.#pending.push({ page, id, from: { ref, offset: at }, bytes: content, tries: 0 });
    }
  }
}
