// Upkeep: everything one peer does by itself, as tasks that run beside each other, each in passes. It only ever works on what
// it can read afresh from the metadata service; while that is away it waits, and the peer serves all the same.

import type { Timer } from "#host";
import type { CollectedRecord, ScrubRegistry, ScrubReport, UpkeepReport } from "#metadata";
import type { BlockRef, Confirmer, ConfirmReport, PeerId } from "#model";
import { BlockConfirmer } from "./block-confirmer.ts";
import { Collector, collectorDefaults } from "./collector.ts";
import { Pacer } from "./pacer.ts";
import { Reconciler } from "./reconciler.ts";
import { attention } from "./repair-machine.ts";
import { RingKeeper } from "./ring-keeper.ts";
import { ScrubAnswerer } from "./scrub-answerer.ts";
import { Scrubber, scrubberDefaults } from "./scrubber.ts";
import { TailRecoverer } from "./tail-recoverer.ts";
import type { UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
import type { UpkeepTask } from "./upkeep-task.ts";
import { TaskLoop } from "./upkeep-task.ts";

/** Peers that start together do not all begin in the same moment. */
const startSpreadMs = 1000;
/** Less than whoever sends a block waits for an answer. */
const admitMsMax = 2000;
/** What looking at blocks may take of a disk, at most, also when it is behind. */
const scrubBytesPerSecond = 64 * 2 ** 20;

export class Upkeep implements Confirmer {
  readonly #options: UpkeepOptions;
  readonly #deps: UpkeepDeps;
  readonly #confirmer: BlockConfirmer;
  /** What others send here has a budget of its own, of the same size. */
  readonly #intake: Pacer;
  readonly #reconciler: Reconciler;
  readonly #collector: Collector;
  readonly #scrubber: Scrubber;
  readonly #walks: TaskLoop;
  readonly #scrubs: TaskLoop;
  readonly #loops: readonly TaskLoop[];
  #soon: Timer | null = null;
  #forgetRings: () => void = () => {};

  constructor(options: UpkeepOptions, deps: UpkeepDeps) {
    this.#options = options;
    this.#deps = deps;
    const { repairBytesPerSecond: bytesPerSecond } = options;
    const pacer = new Pacer({ bytesPerSecond }, deps);
    this.#intake = new Pacer({ bytesPerSecond }, deps);
    this.#confirmer = new BlockConfirmer(options, { ...deps, pacer, ring: () => deps.view.ring });
    const { collectGraceMs, scrubPeriodMs } = options;
    const candidatesOf = (ref: BlockRef): readonly PeerId[] => deps.view.candidatesOf(ref);
    const collector = new Collector(
      { ...collectorDefaults, graceMs: collectGraceMs, everyMs: collectGraceMs },
      {
        ...deps,
        candidatesOf,
        refresh: () => deps.view.refreshRing(),
        ringVersion: () => deps.view.ring.version,
      },
    );
    const isCondemned = (ref: BlockRef): boolean => collector.isDead(ref);
    this.#collector = collector;
    this.#reconciler = new Reconciler(options, { ...deps, pacer, isCondemned });
    this.#scrubber = new Scrubber(
      { ...scrubberDefaults, periodMs: scrubPeriodMs },
      {
        ...deps,
        candidatesOf,
        isCondemned,
        note: deps.scrubNote,
        pacer: new Pacer({ bytesPerSecond: scrubBytesPerSecond }, deps),
      },
    );
    this.#walks = new TaskLoop(this.#reconciler, deps);
    this.#scrubs = new TaskLoop(this.#scrubber, deps);
    const onReturn = (): void => this.#walkSoon();
    const loopOf = (task: UpkeepTask): TaskLoop => new TaskLoop(task, deps);
    const keeper = new RingKeeper(options, { ...deps, onReturn });
    const optional = this.#optionalTasks(() => keeper.rank);
    this.#loops = [this.#walks, ...[keeper, collector].map(loopOf), this.#scrubs, ...optional.map(loopOf)];
  }

  start(): void {
    const { random, view } = this.#deps;
    const spreadMs = Math.min(startSpreadMs, this.#options.walkEveryMs);
    for (const loop of this.#loops) loop.start((spreadMs * random.uint32()) / 2 ** 32);
    this.#forgetRings = view.onRing(() => this.wake());
  }

  /** Something changed: every task looks at once. */
  wake(): void {
    for (const loop of this.#loops) loop.wake();
  }

  /** Resolves when nothing of it runs any more. */
  async close(): Promise<void> {
    this.#forgetRings();
    this.#soon?.cancel();
    await Promise.all(this.#loops.map((loop) => loop.close()));
  }

  get status(): UpkeepReport {
    return this.#reconciler.status;
  }

  /** What the collector's last whole pass found; null before the first. */
  get collected(): CollectedRecord | null {
    return this.#collector.collected;
  }

  /** The collector found it dead: it goes soon. */
  isDead(ref: BlockRef): boolean {
    return this.#collector.isDead(ref);
  }

  get scrub(): ScrubReport {
    return this.#scrubber.report;
  }

  /** What an operator must look at; null when all is well. */
  get condition(): string | null {
    const condition = this.#collector.condition ?? this.#scrubber.condition;
    return condition === null ? null : `${attention}${condition}`;
  }

  /** Answers another peer that is about to delete. */
  confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    return this.#confirmer.confirm(ringVersion, refs);
  }

  /** Resolves when this peer may store so much that another sends it to move or repair. */
  admit(bytes: number): Promise<void> {
    return this.#intake.take(bytes, admitMsMax);
  }

  /** Once for all who come back within a while, however many. */
  #walkSoon(): void {
    this.#soon ??= this.#deps.clock.setTimer(this.#options.walkAgainMs, () => {
      this.#soon = null;
      this.#walks.wake();
    });
  }

  #optionalTasks(rank: () => number): UpkeepTask[] {
    const tasks: UpkeepTask[] = [];
    const { tails, scrubs } = this.#deps;
    if (tails !== null) tasks.push(new TailRecoverer(this.#options, { ...this.#deps, ...tails, rank }));
    if (scrubs !== null) tasks.push(this.#answerer(scrubs));
    return tasks;
  }

  #answerer(scrubs: ScrubRegistry): ScrubAnswerer {
    const { store, clock } = this.#deps;
    const options = { everyMs: this.#options.watchEveryMs };
    const wake = (): void => this.#scrubs.wake();
    return new ScrubAnswerer(options, { peer: store.peer, scrubs, scrubber: this.#scrubber, wake, clock });
  }
}
