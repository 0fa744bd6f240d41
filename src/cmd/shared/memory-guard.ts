// MemoryGuard: holds a process below its ceiling where sums cannot. What is counted is bounded where it is counted; but the garbage
// collector takes its time, and the allocator keeps what was freed. So the guard looks at what the process really takes: near the
// ceiling it has garbage collected, and nearer still those who let work in are told to let in less until it is over.

import type { Clock, Counter, Metrics, Timer } from "#host";

export interface MemoryGuardOptions {
  readonly memoryBytesMax: number;
}

export interface MemoryGuardDeps {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** What the process takes now. */
  readonly residentBytes: () => number;
  readonly collectGarbage: () => void;
  /** Called when it changes. */
  readonly squeeze: (isSqueezed: boolean) => void;
}

/** How often it looks, and how often where the ceiling is far away. */
const lookEveryMs = 100;
const lookSeldomMs = 500;
/** A collection takes tens of milliseconds. */
const collectEveryMs = 1000;
/** Of the ceiling: until where it looks seldom, from where on garbage is collected, work is held back, and it is no more. */
const seldomShare = 0.5;
const collectShare = 0.85;
const squeezeShare = 0.93;
const releaseShare = 0.88;

export class MemoryGuard {
  readonly #options: MemoryGuardOptions;
  readonly #deps: MemoryGuardDeps;
  readonly #collections: Counter;
  readonly #squeezes: Counter;
  #timer: Timer | null = null;
  #collectedMs = Number.NEGATIVE_INFINITY;
  #isSqueezed = false;

  constructor(options: MemoryGuardOptions, deps: MemoryGuardDeps) {
    this.#options = options;
    this.#deps = deps;
    const { metrics } = deps;
    metrics.gauge(
      "torus_memory_max_bytes",
      "What the process may take (--memory)",
      () => options.memoryBytesMax,
    );
    this.#collections = metrics.counter(
      "torus_memory_collections_total",
      "Times garbage was collected because the process came near what it may take",
    );
    this.#squeezes = metrics.counter(
      "torus_memory_squeezes_total",
      "Times less was let in because the process came near what it may take",
    );
  }

  start(): void {
    this.#lookIn(lookSeldomMs);
  }

  close(): void {
    this.#timer?.cancel();
  }

  #lookIn(delayMs: number): void {
    this.#timer = this.#deps.clock.setTimer(delayMs, () =>
      this.#lookIn(this.#look() < seldomShare ? lookSeldomMs : lookEveryMs),
    );
  }

  /** The share of the ceiling that is taken. */
  #look(): number {
    const { clock, residentBytes, collectGarbage, squeeze } = this.#deps;
    const share = residentBytes() / this.#options.memoryBytesMax;
    const nowMs = clock.monotonicMs();
    if (share >= collectShare && nowMs - this.#collectedMs >= collectEveryMs) {
      this.#collections.add(1);
      collectGarbage();
      this.#collectedMs = clock.monotonicMs();
    }
    const isSqueezed = share >= (this.#isSqueezed ? releaseShare : squeezeShare);
    if (isSqueezed === this.#isSqueezed) return share;
    this.#isSqueezed = isSqueezed;
    if (isSqueezed) this.#squeezes.add(1);
    squeeze(isSqueezed);
    return share;
  }
}
