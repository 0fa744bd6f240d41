// Reconciler: walks over this peer's blocks, again and again, and brings them to where the ring wants them, page by page. A new ring
// begins a new walk. It also says how far it is, which others rely on: a union settles when every peer has walked to its
// end and found all in place (docs/design.md §5, §7).
//
// Of each page the blocks are listed first and the metadata is read then, so nothing listed is newer than what it is judged by. Reading all of it for each
// page would cost more than the walk, so what was read is used for a while: a block that older metadata calls placed or deleted is so for good, since a
// head only ever moves on; one that it gives to a log is left alone, and met again on the next walk; and of one that it does not know,
// nothing is said before it was read anew. Which ring is in force is asked at each act, and whether operators want all to rest at each page.

import { ReusedMemory } from "#host";
import type { ClusterSnapshot, UpkeepRecord, UpkeepReport } from "#metadata";
import type { BlockRef, BlockStatus } from "#model";
import { assert } from "#model";
import type { Ring, RingDescription } from "#ring";
import { pacedMs } from "./pace.ts";
import type { Pacer } from "./pacer.ts";
import type { ReconcileCounters } from "./reconcile-counters.ts";
import { reconcileCounters } from "./reconcile-counters.ts";
import { ringOf, standingOf } from "./reconcile-machine.ts";
import { ReconcilePage } from "./reconcile-page.ts";
import { namesOlderRings } from "./settle-machine.ts";
import type { UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
import type { UpkeepTask } from "./upkeep-task.ts";
import { WalkProgress } from "./walk-progress.ts";

const pageBlocksMin = 1024;
/** Each page asks nearly every peer there is, about so many blocks: a question is not worth less. */
const pageBlocksPerPeer = 32;
/** A walk that follows at once rests for this many times what the last one took. */
const restShare = 4;
/** After so many walks that left something to do, this peer sends what another should have sent. */
const patienceWalks = 2;

export interface ReconcilerDeps extends UpkeepDeps {
  readonly pacer: Pacer;
  /** Found dead and about to be collected: not worth moving. */
  readonly isCondemned: (ref: BlockRef) => boolean;
}

export class Reconciler implements UpkeepTask {
  readonly name = "reconciler";
  readonly #options: UpkeepOptions;
  readonly #deps: ReconcilerDeps;
  readonly #counters: ReconcileCounters;
  readonly #progress: WalkProgress;
  /** Between two times that all metadata is read. */
  #readEveryMs = 0;
  /** Of the last walk. */
  #ring: { readonly description: RingDescription; readonly ring: Ring } | null = null;

  constructor(options: UpkeepOptions, deps: ReconcilerDeps) {
    this.#options = options;
    this.#deps = deps;
    const { clock, metrics } = deps;
    this.#counters = reconcileCounters(metrics);
    this.#progress = new WalkProgress(clock);
    metrics.gauge(
      "torus_upkeep_misplaced_blocks",
      "Blocks here that lack copies, or should be elsewhere, as far as walked.",
      () => this.#progress.misplacedBlocks,
    );
  }

  get everyMs(): number {
    const { walkEveryMs, walkAgainMs, watchEveryMs } = this.#options;
    if (this.#progress.isPaused) return Math.max(watchEveryMs, this.#readEveryMs);
    const restMs = this.#progress.lastMs * restShare;
    const isDone = this.#progress.isClean && this.#deps.view.ring.type !== "union";
    if (isDone) return Math.max(walkEveryMs, restMs, this.#readEveryMs);
    return Math.max(Math.min(walkEveryMs, Math.max(walkAgainMs, restMs)), this.#readEveryMs);
  }

  /** A new ring is worth more haste than a look for its own sake. */
  get restMs(): number {
    return this.#readEveryMs / 4;
  }

  get status(): UpkeepReport {
    return this.#progress.report(this.#counters.sentBytes.value);
  }

  async pass(stopping: () => boolean): Promise<void> {
    const { store, metadata, view, clock, log } = this.#deps;
    const start = await metadata.snapshot();
    const readMs = clock.monotonicMs();
    const readers = start.ring.members.length;
    this.#readEveryMs = pacedMs(0, { readers, bytes: start.bytes });
    if (this.#mustWait(start) || start.ringVersion !== view.ring.version) return;
    const version = start.ringVersion;
    const { blocks } = await store.usage();
    this.#progress.begin(version, blocks);
    const pageBlocks = Math.max(pageBlocksMin, readers * pageBlocksPerPeer);
    let read = { snapshot: start, atMs: readMs };
    let after: BlockRef | null = null;
    do {
      const page: { blocks: readonly BlockStatus[]; next: BlockRef | null } = await store.list(
        after,
        pageBlocks,
      );
      if (this.#isTooOld(read.atMs) || hasUnknown(page.blocks, read.snapshot))
        read = { snapshot: await metadata.snapshot(), atMs: clock.monotonicMs() };
      else if (this.#isPaused(await metadata.upkeep())) return;
      const { snapshot } = read;
      // A ring that changed wakes this task: all is judged anew by it.
      if (stopping() || view.ring.version !== version || snapshot.ringVersion !== version) return;
      if (this.#mustWait(snapshot)) return;
      await this.#walkPage(page.blocks, snapshot, stopping);
      after = page.next;
    } while (after !== null);
    if (stopping() || view.ring.version !== version) return;
    // Blocks may still come to lie where an older ring says while a log is placed by one.
    this.#progress.end(namesOlderRings(start) ? null : start.revision);
    const { misplacedBlocks, walks } = this.#progress;
    if (misplacedBlocks === 0 && walks === 1)
      log.info("Every block here is where the ring wants it.", { ring: version, blocks });
  }

  async #walkPage(
    blocks: readonly BlockStatus[],
    snapshot: ClusterSnapshot,
    stopping: () => boolean,
  ): Promise<void> {
    const { view, isCondemned } = this.#deps;
    const placed: BlockStatus[] = [];
    const tally = { walked: blocks.length, kept: 0, unknown: 0 };
    for (const block of blocks) {
      const standing = standingOf(block.ref, snapshot);
      if (standing === "log") tally.kept += 1;
      else if (standing === "unknown") tally.unknown += 1;
      else if (standing === "placed" && !isCondemned(block.ref)) placed.push(block);
    }
    if (tally.unknown > 0) this.#alarmUnknown(blocks, snapshot, tally.unknown);
    const ring = this.#ringOf(snapshot);
    assert(ring.version === snapshot.ringVersion, "a snapshot has the ring in force");
    const page = new ReconcilePage(
      {
        ring,
        isImpatient: this.#progress.walksLeft >= patienceWalks,
        isInForce: () => !stopping() && view.ring.version === ring.version,
      },
      { ...this.#deps, memory: new ReusedMemory(), counters: this.#counters },
    );
    this.#progress.enter(blocks.length, () => page.done);
    this.#progress.add(tally, await page.run(placed));
  }

  /** Made once for each ring, which of many members costs something. */
  #ringOf(snapshot: ClusterSnapshot): Ring {
    if (this.#ring?.description !== snapshot.ring)
      this.#ring = { description: snapshot.ring, ring: ringOf(snapshot) };
    return this.#ring.ring;
  }

  #isTooOld(readMs: number): boolean {
    return this.#deps.clock.monotonicMs() - readMs >= this.#readEveryMs;
  }

  #isPaused({ paused }: UpkeepRecord): boolean {
    this.#progress.isPaused = paused;
    return paused;
  }

  /** Also while somebody knows that the metadata went back: its ring is not the one that blocks were placed by [C7]. */
  #mustWait({ upkeep, behind }: ClusterSnapshot): boolean {
    return this.#isPaused(upkeep) || behind !== "";
  }

  #alarmUnknown(blocks: readonly BlockStatus[], snapshot: ClusterSnapshot, count: number): void {
    const first = blocks.find(({ ref }) => standingOf(ref, snapshot) === "unknown");
    this.#deps.log.error(
      "Blocks of a volume that the metadata service does not know are here; they are not touched. Was it restored from a backup?",
      { volume: first?.ref.volume, blocks: count },
    );
  }
}

/** Some of `blocks` were listed after `snapshot` was read, of a volume that is newer. */
function hasUnknown(blocks: readonly BlockStatus[], snapshot: ClusterSnapshot): boolean {
  return blocks.some(({ ref }) => standingOf(ref, snapshot) === "unknown");
}
