// Scrubber: looks at every sealed block of the own store, as the disk has it, once a period, and puts a damaged one right from a peer
// that has it whole, or from what several have of it. It never deletes: where no good copy is to be found now it says so, and tries again.
//
// Open blocks are left out (their bytes are in memory, and with their writer), and so are dead ones. When a round has seen a block is
// scrub-machine.ts's to say; where the round is outlives the process.

import type { Clock, Counter, Log, Metrics } from "#host";
import type { ScrubReport } from "#metadata";
import type { BlockRef, BlockStatus, BlockStore, PeerId } from "#model";
import { blockRefKey, crc32, isTorusError, messageOf } from "#model";
import { mendBlock } from "./mend-block.ts";
import type { OwnStore } from "./own-store.ts";
import type { Pacer } from "./pacer.ts";
import { decodeScrubPlace, encodeScrubPlace } from "./scrub-codec.ts";
import { ScrubMachine } from "./scrub-machine.ts";
import type { UpkeepTask } from "./upkeep-task.ts";

export interface ScrubberOptions {
  /** Every sealed block is looked at within it. */
  readonly periodMs: number;
  /** How often blocks that could not be repaired are tried again. */
  readonly retryEveryMs: number;
}

export const scrubberDefaults: ScrubberOptions = { periodMs: 7 * 24 * 3_600_000, retryEveryMs: 60_000 };

/** A small text that outlives the process. */
export interface ScrubNote {
  read(): string | null;
  write(text: string): void;
}

export interface ScrubberDeps {
  readonly store: OwnStore;
  /** Every peer that may hold `ref`. */
  readonly candidatesOf: (ref: BlockRef) => readonly PeerId[];
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly isCondemned: (ref: BlockRef) => boolean;
  /** What the disk can spare, also for a round that was asked for. */
  readonly pacer: Pacer;
  readonly note: ScrubNote;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** A round that was asked for, as far as it is. */
export interface AskedRound {
  readonly asked: string;
  /** From 0 to 1. */
  readonly done: number;
  /** Damaged blocks it found that were not known before, and what was repaired since. */
  readonly found: number;
  readonly repaired: number;
  readonly isEnded: boolean;
}

/** What the counters said when the round began. */
interface RoundStart {
  readonly asked: string;
  readonly found: number;
  readonly repaired: number;
  isBegun: boolean;
  isEnded: boolean;
}

const everyMsMax = 10_000;
const saveEveryMs = 60_000;
const listPage = 256;
const brokenMax = 10_000;
/** Copies that are kept in memory to put a block together from. */
const damagedMax = 3;

export class Scrubber implements UpkeepTask {
  readonly name = "scrubber";
  readonly everyMs: number;
  readonly #options: ScrubberOptions;
  readonly #deps: ScrubberDeps;
  readonly #machine: ScrubMachine;
  /** Damaged, and not repaired yet. */
  readonly #broken = new Map<string, BlockRef>();
  readonly #blocks: Counter;
  readonly #bytes: Counter;
  readonly #found: Counter;
  readonly #repaired: Counter;
  #isMeasured = false;
  /** The last round that was asked for since the process started. */
  #round: RoundStart | null = null;
  #savedMs: number;
  #retriedMs: number;

  constructor(options: ScrubberOptions, deps: ScrubberDeps) {
    const { clock, metrics, note } = deps;
    this.everyMs = Math.min(everyMsMax, Math.ceil(options.periodMs / 100));
    this.#options = options;
    this.#deps = deps;
    const nowMs = clock.monotonicMs();
    this.#machine = new ScrubMachine(options, decodeScrubPlace(note.read() ?? ""), nowMs);
    this.#savedMs = nowMs;
    this.#retriedMs = nowMs;
    const count = (name: string, help: string): Counter => metrics.counter(`torus_upkeep_scrub${name}`, help);
    this.#blocks = count("bed_blocks_total", "Blocks the scrubber looked at.");
    this.#bytes = count("bed_bytes_total", "Bytes the scrubber looked at.");
    this.#found = count("_found_blocks_total", "Damaged blocks the scrubber found.");
    this.#repaired = count("_repaired_blocks_total", "Damaged blocks the scrubber repaired.");
    metrics.gauge(
      "torus_upkeep_scrub_unrepairable_blocks",
      "Damaged blocks of which no good copy is within reach: look at once.",
      () => this.#broken.size,
    );
    metrics.gauge(
      "torus_upkeep_scrub_done_ratio",
      "How much of the scrubber's round is done.",
      () => this.report.done,
    );
  }

  get report(): ScrubReport {
    return {
      done: this.#machine.place.done,
      found: this.#found.value,
      repaired: this.#repaired.value,
      unrepairable: this.#broken.size,
    };
  }

  /** What an operator must look at; null when all is well. */
  get condition(): string | null {
    const count = this.#broken.size;
    if (count === 0) return null;
    return `${count} damaged block${count === 1 ? "" : "s"} without a good copy within reach`;
  }

  /** The last round that was asked for; null when none was since the process started. */
  get round(): AskedRound | null {
    if (this.#round === null) return null;
    const { asked, isBegun, isEnded } = this.#round;
    const found = this.#found.value - this.#round.found;
    const repaired = this.#repaired.value - this.#round.repaired;
    const done = isEnded ? 1 : isBegun ? this.#machine.place.done : 0;
    return { asked, done, found, repaired, isEnded };
  }

  /**
   * A round over everything begins with the next step and does not pause; the caller wakes the task. One that `asked` named before the process was restarted
   * goes on. The pass itself begins it: what it has listed is of the round before.
   */
  hurry(asked: string): void {
    const [found, repaired] = [this.#found.value, this.#repaired.value];
    this.#round = { asked, found, repaired, isBegun: false, isEnded: false };
  }

  /** As much of the round as is due. */
  async pass(stopping: () => boolean): Promise<void> {
    const { clock } = this.#deps;
    await this.#retry(stopping);
    while (!stopping()) {
      this.#beginAsked();
      if (!this.#isMeasured) await this.#measure(stopping);
      const { blocks } = await this.#deps.store.list(this.#machine.place.after, listPage);
      if (this.#isAsked) continue;
      if (blocks.length === 0) {
        this.#finish();
        return;
      }
      if (!(await this.#look(blocks, stopping))) break;
      if (clock.monotonicMs() - this.#savedMs >= saveEveryMs) this.#save();
    }
    if (clock.monotonicMs() - this.#savedMs >= saveEveryMs || stopping()) this.#save();
  }

  /** A round was asked for that has not begun. */
  get #isAsked(): boolean {
    return this.#round !== null && !this.#round.isBegun;
  }

  #beginAsked(): void {
    if (this.#round === null || this.#round.isBegun) return;
    this.#round.isBegun = true;
    this.#machine.hurry(this.#round.asked);
    this.#isMeasured = false;
  }

  #finish(): void {
    if (this.#round !== null) this.#round.isEnded = true;
    this.#machine.finished(this.#deps.clock.monotonicMs());
    this.#isMeasured = false;
    this.#save();
  }

  /** One block after another; false at the first that is not due. */
  async #look(blocks: readonly BlockStatus[], stopping: () => boolean): Promise<boolean> {
    const { clock, pacer } = this.#deps;
    for (const status of blocks) {
      const counts = this.#isLookedAt(status);
      if (stopping() || (counts && !this.#machine.isDue(clock.monotonicMs(), status.held))) return false;
      if (counts) {
        await pacer.take(status.held);
        await this.#check(status.ref);
        this.#blocks.add(1);
        this.#bytes.add(status.held);
      }
      // A round that was asked for meanwhile begins at the start.
      if (this.#isAsked) return true;
      this.#machine.passed(status.ref, counts ? status.held : 0);
    }
    return true;
  }

  #isLookedAt({ state, ref }: BlockStatus): boolean {
    return state === "sealed" && !this.#deps.isCondemned(ref);
  }

  /** What the round still has before it. */
  async #measure(stopping: () => boolean): Promise<void> {
    let bytes = 0;
    let { after } = this.#machine.place;
    do {
      const page: Awaited<ReturnType<OwnStore["list"]>> = await this.#deps.store.list(after, listPage);
      for (const status of page.blocks) if (this.#isLookedAt(status)) bytes += status.held;
      after = page.next;
    } while (after !== null && !stopping());
    this.#machine.measured(bytes);
    this.#isMeasured = true;
  }

  /** Looks at a block and puts it right if it is damaged. */
  async #check(ref: BlockRef): Promise<void> {
    const { store, log } = this.#deps;
    const key = blockRefKey(ref);
    const isWhole = await store.verify(ref);
    if (isWhole !== false) {
      if (this.#broken.delete(key)) log.info("A damaged block was repaired, or is gone.", { block: key });
      return;
    }
    const isNew = !this.#broken.has(key);
    if (isNew) this.#found.add(1);
    const [status] = await store.stat([ref]);
    if (await this.#repair(status)) {
      this.#repaired.add(1);
      this.#broken.delete(key);
      return;
    }
    if (isNew && this.#broken.size < brokenMax) this.#broken.set(key, ref);
    if (isNew)
      log.error("A block is damaged and no peer has a good copy within reach; it is kept, and tried again.", {
        block: key,
      });
  }

  /** From the first peer that has it whole; where nobody has, from what all have of it together. */
  async #repair(status: BlockStatus): Promise<boolean> {
    const { store, candidatesOf, log } = this.#deps;
    const { ref, held, checksum } = status;
    const damaged: Uint8Array[] = [];
    for (const peer of candidatesOf(ref)) {
      const bytes = peer === store.peer ? null : await this.#copyAt(peer, status);
      if (bytes === null) continue;
      if (crc32(bytes) === checksum) return this.#put(status, bytes);
      if (damaged.length < damagedMax) damaged.push(bytes);
    }
    if (damaged.length === 0) return false;
    const own = await store.read(ref, 0, held).catch(() => null);
    const mended = mendBlock(own === null ? damaged : [own, ...damaged], checksum);
    if (mended === null) return false;
    log.warn("No peer had a good copy of a block; it was put together from several.", {
      block: blockRefKey(ref),
    });
    return this.#put(status, mended);
  }

  /** What a peer has of the sealed block; null when it has none of this length and checksum, or does not answer. */
  async #copyAt(peer: PeerId, { ref, held, checksum }: BlockStatus): Promise<Uint8Array | null> {
    try {
      const source = this.#deps.storeOf(peer);
      const [copy] = await source.stat([ref]);
      if (copy.state !== "sealed" || copy.held !== held || copy.checksum !== checksum) return null;
      const bytes = await source.read(ref, 0, held);
      return bytes.length === held ? bytes : null;
    } catch (error) {
      if (!isTorusError(error)) throw error;
      this.#deps.log.debug("A peer could not help with a damaged block.", {
        peer,
        reason: messageOf(error),
      });
      return null;
    }
  }

  async #put({ ref, checksum }: BlockStatus, bytes: Uint8Array): Promise<boolean> {
    const { store, log } = this.#deps;
    const block = blockRefKey(ref);
    try {
      await store.put(ref, bytes, checksum, "repair");
    } catch (error) {
      if (!isTorusError(error)) throw error;
      log.warn("A good copy of a damaged block could not be stored.", { block, reason: messageOf(error) });
      return false;
    }
    log.info("A damaged block was repaired.", { block });
    return true;
  }

  async #retry(stopping: () => boolean): Promise<void> {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#broken.size === 0 || nowMs - this.#retriedMs < this.#options.retryEveryMs) return;
    this.#retriedMs = nowMs;
    for (const ref of [...this.#broken.values()]) {
      if (stopping()) return;
      await this.#check(ref);
    }
  }

  /** A place that could not be written down costs work after a restart, and nothing else. */
  #save(): void {
    this.#savedMs = this.#deps.clock.monotonicMs();
    const { place } = this.#machine;
    // Which blocks could not be repaired is known to this process alone: to answer for them, the next one begins an asked round anew.
    const asked = this.#broken.size === 0 ? place.asked : null;
    try {
      this.#deps.note.write(encodeScrubPlace({ ...place, asked }));
    } catch (error) {
      this.#deps.log.warn("The scrubber's place could not be written down.", { reason: messageOf(error) });
    }
  }
}
