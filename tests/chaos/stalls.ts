// Stalls: how long clients waited for anything to be answered, and which faults were about at that time. A stall is the time
// between two answers while something was asked; it counts for every fault that was there during any of it.

export type Direction = "read" | "write";

interface Window {
  readonly kind: string;
  readonly fromMs: number;
  toMs: number;
}

export interface Longest {
  count: number;
  /** While it was there, perhaps with others. */
  readMs: number;
  writeMs: number;
  /** While it was there alone. */
  readAloneMs: number;
  writeAloneMs: number;
}

const none: Longest = { count: 0, readMs: 0, writeMs: 0, readAloneMs: 0, writeAloneMs: 0 };

export class Stalls {
  readonly #windows = new Set<Window>();
  readonly #longest = new Map<string, Longest>();
  readonly #trackers = new Set<StallTracker>();

  /** By kind of fault, in the order in which kinds were first seen. */
  get longest(): ReadonlyMap<string, Readonly<Longest>> {
    return this.#longest;
  }

  /** A fault begins; call one of what this returns when all of it is undone, or when it could not be done. */
  begin(kind: string): { readonly over: () => void; readonly cancelled: () => void } {
    const window = { kind, fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY };
    this.#windows.add(window);
    const longest = this.#longest.get(kind) ?? { ...none };
    longest.count += 1;
    this.#longest.set(kind, longest);
    return {
      over: () => {
        window.toMs = performance.now();
      },
      cancelled: () => {
        longest.count -= 1;
        this.#windows.delete(window);
      },
    };
  }

  tracker(): StallTracker {
    const tracker = new StallTracker((direction, fromMs, toMs) => this.#count(direction, fromMs, toMs));
    this.#trackers.add(tracker);
    return tracker;
  }

  /** All is well: what comes has nothing to do with the faults so far. */
  calm(): void {
    this.#windows.clear();
    for (const tracker of this.#trackers) tracker.forget();
  }

  #count(direction: Direction, fromMs: number, toMs: number): void {
    const met = [...this.#windows].filter((window) => window.fromMs <= toMs && window.toMs >= fromMs);
    for (const { kind } of met) {
      const longest = this.#longest.get(kind)!;
      const raise = (key: Exclude<keyof Longest, "count">): void => {
        longest[key] = Math.max(longest[key], toMs - fromMs);
      };
      raise(`${direction}Ms`);
      if (met.length === 1) raise(`${direction}AloneMs`);
    }
  }
}

/** Of one client. Writes and flushes are one direction. */
export class StallTracker {
  readonly #stalled: (direction: Direction, fromMs: number, toMs: number) => void;
  /** When the last answer came, or the first request since nothing was waited for. */
  readonly #since: Record<Direction, number | null> = { read: null, write: null };

  constructor(stalled: (direction: Direction, fromMs: number, toMs: number) => void) {
    this.#stalled = stalled;
  }

  asked(direction: Direction): void {
    this.#since[direction] ??= performance.now();
  }

  answered(direction: Direction): void {
    const nowMs = performance.now();
    const since = this.#since[direction];
    if (since !== null) this.#stalled(direction, since, nowMs);
    this.#since[direction] = nowMs;
  }

  /** How long ago the last answer came while something is waited for. */
  quietMs(direction: Direction): number {
    const since = this.#since[direction];
    return since === null ? 0 : performance.now() - since;
  }

  forget(): void {
    this.#since.read = null;
    this.#since.write = null;
  }
}
