// A clock for tests that stands still until it is told to go on.

import type { Clock, Timer } from "#host";

interface Pending {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

export class ManualClock implements Clock {
  readonly bootId = "boot-1";
  #monotonicMs = 1000;
  #wallMs = 1_800_000_000_000;
  #order = 0;
  readonly #pending = new Set<Pending>();

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    this.#order += 1;
    const timer = { dueMs: this.#monotonicMs + Math.max(0, delayMs), order: this.#order, callback };
    this.#pending.add(timer);
    return { cancel: () => void this.#pending.delete(timer) };
  }

  /** The wall clock is set, or the machine was suspended: monotonic time does not move. */
  jumpWall(byMs: number): void {
    this.#wallMs += byMs;
  }

  /** Lets `ms` pass: timers fire in order, and what they started settles before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonicMs + ms;
    await settle();
    for (let next = this.#next(end); next !== null; next = this.#next(end)) {
      this.#moveTo(next.dueMs);
      this.#pending.delete(next);
      next.callback();
      await settle();
    }
    this.#moveTo(end);
  }

  /** Lets time pass in small steps until `promise` settles. */
  async run<Value>(promise: Promise<Value>, stepMs = 5): Promise<Value> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    for (let count = 0; count < 100_000 && !settled; count++) await this.advance(stepMs);
    return promise;
  }

  #next(endMs: number): Pending | null {
    let next: Pending | null = null;
    for (const timer of this.#pending) {
      if (timer.dueMs > endMs) continue;
      if (
        next === null ||
        timer.dueMs < next.dueMs ||
        (timer.dueMs === next.dueMs && timer.order < next.order)
      )
        next = timer;
    }
    return next;
  }

  #moveTo(ms: number): void {
    const stepMs = Math.max(0, ms - this.#monotonicMs);
    this.#monotonicMs += stepMs;
    this.#wallMs += stepMs;
  }
}

/** Lets promises and immediate callbacks run dry. */
export async function settle(): Promise<void> {
  for (let count = 0; count < 3; count++) await new Promise((resolve) => setImmediate(resolve));
}
