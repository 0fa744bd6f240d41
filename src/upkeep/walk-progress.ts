// WalkProgress: what the reconciler tells of its walks: the one under way, and the last whole one, which others rely on.

import type { Clock } from "#host";
import type { UpkeepReport } from "#metadata";
import type { PageOutcome } from "./reconcile-page.ts";

/** What a page had besides the blocks whose place the ring decides. */
export interface PageTally {
  readonly walked: number;
  readonly kept: number;
  readonly unknown: number;
}

interface Walk {
  readonly version: number;
  readonly blocks: number;
  readonly startedMs: number;
  walked: number;
  kept: number;
  misplacedBlocks: number;
  misplacedBytes: number;
}

/** The page under way: how many blocks it has, and how much of it is done, 0 to 1. */
interface PageUnderWay {
  readonly blocks: number;
  readonly done: () => number;
}

/** Shorter walks say nothing about speed. */
const measuredMsMin = 1000;

export class WalkProgress {
  readonly #clock: Clock;
  #walk: Walk | null = null;
  #page: PageUnderWay | null = null;
  /** The last whole walk. */
  #last: Walk | null = null;
  #clean = { version: 0, revision: 0, walks: 0 };
  #walksLeft = 0;
  #lastMs = 0;
  isPaused = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The last whole walk left nothing to do, by the newest ring it knew. */
  get isClean(): boolean {
    return (
      this.#last !== null && this.#last.misplacedBlocks === 0 && this.#clean.version === this.#last.version
    );
  }

  /** What the last whole walk took. */
  get lastMs(): number {
    return this.#lastMs;
  }

  /** Whole walks in a row that left something to do. */
  get walksLeft(): number {
    return this.#walksLeft;
  }

  /** Whole walks in a row that found all in place. */
  get walks(): number {
    return this.#clean.walks;
  }

  get misplacedBlocks(): number {
    return (this.#walk ?? this.#last)?.misplacedBlocks ?? 0;
  }

  begin(version: number, blocks: number): void {
    if (this.#last?.version !== version) this.#walksLeft = 0;
    const startedMs = this.#clock.monotonicMs();
    this.#walk = { version, blocks, startedMs, walked: 0, kept: 0, misplacedBlocks: 0, misplacedBytes: 0 };
    this.#page = null;
  }

  /** A page of so many blocks is begun, which takes long if much of it must be moved; `add` ends it. */
  enter(blocks: number, done: () => number): void {
    this.#page = { blocks, done };
  }

  add(tally: PageTally, outcome: PageOutcome): void {
    const walk = this.#walk;
    this.#page = null;
    if (walk === null) return;
    walk.walked += tally.walked;
    walk.kept += tally.kept;
    walk.misplacedBlocks += outcome.misplacedBlocks + tally.unknown;
    walk.misplacedBytes += outcome.misplacedBytes;
  }

  /** All blocks were walked over. `revision`: as of which metadata, or null when logs may still be placed by older rings. */
  end(revision: number | null): void {
    const walk = this.#walk;
    if (walk === null) return;
    this.#walk = null;
    this.#last = walk;
    this.#lastMs = this.#clock.monotonicMs() - walk.startedMs;
    if (walk.misplacedBlocks > 0) {
      this.#walksLeft += 1;
      if (this.#clean.version === walk.version) this.#clean = { version: 0, revision: 0, walks: 0 };
      return;
    }
    this.#walksLeft = 0;
    if (revision === null) return;
    const walks = this.#clean.version === walk.version ? this.#clean.walks + 1 : 1;
    this.#clean = { version: walk.version, revision, walks };
  }

  report(movedBytes: number): UpkeepReport {
    const shown = this.#walk ?? this.#last;
    return {
      state: this.#state(),
      ringVersion: this.#clean.version,
      revision: this.#clean.revision,
      walks: this.#clean.walks,
      walkedPercent: this.#walkedPercent(),
      misplacedBlocks: shown?.misplacedBlocks ?? 0,
      misplacedBytes: shown?.misplacedBytes ?? 0,
      keptBlocks: Math.max(this.#last?.kept ?? 0, this.#walk?.kept ?? 0),
      movedBytes,
      remainingMs: this.#remainingMs(),
    };
  }

  #state(): UpkeepReport["state"] {
    if (this.isPaused) return "paused";
    const { version } = this.#walk ?? this.#last ?? { version: 0 };
    if (version === 0) return "starting";
    if (this.#clean.version === version) return "idle";
    return this.#walk === null ? "waiting" : "moving";
  }

  /** Of the walk under way, 0 to 1. */
  #share({ walked, blocks }: Walk): number {
    const page = this.#page === null ? 0 : this.#page.blocks * this.#page.done();
    return blocks === 0 ? 0 : Math.min(1, (walked + page) / blocks);
  }

  #walkedPercent(): number {
    if (this.#walk === null) return this.#last === null ? 0 : 100;
    return Math.floor(100 * this.#share(this.#walk));
  }

  #remainingMs(): number | null {
    if (this.#walk === null) return null;
    const share = this.#share(this.#walk);
    const passedMs = this.#clock.monotonicMs() - this.#walk.startedMs;
    if (share === 0 || passedMs < measuredMsMin) return null;
    return Math.round((passedMs * (1 - share)) / share);
  }
}
