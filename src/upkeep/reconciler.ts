// Reconciler: walks over this peer's blocks, again and again, and brings them to where the ring wants them, page by page. A new ring
// begins a new walk. It also says how far it is, which others rely on: a union settles when every peer has walked to its
// end and found all in place (docs/design.md §5, §7).
//
// Of each page the blocks are listed first and the metadata is read then, so nothing listed is newer than what it is judged by.

import type { ClusterSnapshot, UpkeepReport } from "#metadata";
import type { BlockRef, BlockStatus } from "#model";
import { assert } from "#model";
import type { Pacer } from "./pacer.ts";
import type { ReconcileCounters } from "./reconcile-counters.ts";
import { reconcileCounters } from "./reconcile-counters.ts";
import { ringOf, standingOf } from "./reconcile-machine.ts";
import { ReconcilePage } from "./reconcile-page.ts";
import { namesOlderRings } from "./settle-machine.ts";
import type { UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
import type { UpkeepTask } from "./upkeep-task.ts";
import { WalkProgress } from "./walk-progress.ts";

const pageBlocks = 1024;
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
    if (this.#progress.isPaused) return watchEveryMs;
    const isDone = this.#progress.isClean && this.#deps.view.ring.type !== "union";
    if (isDone) return walkEveryMs;
    return Math.min(walkEveryMs, Math.max(walkAgainMs, this.#progress.lastMs * restShare));
  }

  get status(): UpkeepReport {
    return this.#progress.report(this.#counters.sentBytes.value);
  }

  async pass(stopping: () => boolean): Promise<void> {
    const { store, metadata, view, log } = this.#deps;
    const start = await metadata.snapshot();
    if (this.#isPaused(start) || start.ringVersion !== view.ring.version) return;
    const version = start.ringVersion;
    const { blocks } = await store.usage();
    this.#progress.begin(version, blocks);
    let after: BlockRef | null = null;
    do {
      const page: { blocks: readonly BlockStatus[]; next: BlockRef | null } = await store.list(
        after,
        pageBlocks,
      );
      const snapshot = await metadata.snapshot();
      // A ring that changed wakes this task: all is judged anew by it.
      if (stopping() || snapshot.ringVersion !== version || this.#isPaused(snapshot)) return;
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
    const ring = ringOf(snapshot);
    assert(ring.version === snapshot.ringVersion, "a snapshot has the ring in force");
    const page = new ReconcilePage(
      {
        ring,
        isImpatient: this.#progress.walksLeft >= patienceWalks,
        isInForce: () => !stopping() && view.ring.version === ring.version,
      },
      { ...this.#deps, counters: this.#counters },
    );
    this.#progress.add(tally, await page.run(placed));
  }

  #isPaused(snapshot: ClusterSnapshot): boolean {
    this.#progress.isPaused = snapshot.upkeep.paused;
    return snapshot.upkeep.paused;
  }

  #alarmUnknown(blocks: readonly BlockStatus[], snapshot: ClusterSnapshot, count: number): void {
    const first = blocks.find(({ ref }) => standingOf(ref, snapshot) === "unknown");
    this.#deps.log.error(
      "Blocks of a volume that the metadata service does not know are here; they are not touched. Was it restored from a backup?",
      { volume: first?.ref.volume, blocks: count },
    );
  }
}
