// SimClock: time that moves only when it is told to. Timers run in the order of their time, and of their making where
// that is equal; between two of them every promise that can settle does, so a run depends on nothing but its inputs.

import type { Clock, Timer } from "#host";
import { assert } from "#model";

interface SimTimer extends Timer {
  readonly dueMs: number;
  readonly order: number;
  callback: (() => void) | null;
}

export class SimClock implements Clock {
  readonly #heap: SimTimer[] = [];
  #nowMs = 0;
  #made = 0;
  #steps = 0;
  #wallOffsetMs: number;

  /** `wallMs`: what the wall clock shows at the start. */
  constructor(wallMs = 1_700_000_000_000) {
    this.#wallOffsetMs = wallMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  /** Timers that ran. */
  get steps(): number {
    return this.#steps;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  /** The wall clock jumps, as when someone sets it. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    assert(delayMs >= 0, "a timer lies ahead");
    const timer: SimTimer = {
      dueMs: this.#nowMs + delayMs,
      order: this.#made++,
      callback,
      cancel: () => {
        timer.callback = null;
      },
    };
    this.#heap.push(timer);
    this.#rise(this.#heap.length - 1);
    return timer;
  }

  /** Runs everything due in the next `durationMs`. */
  async advance(durationMs: number): Promise<void> {
    const endMs = this.#nowMs + durationMs;
    await settle();
    while (this.#heap.length > 0 && this.#heap[0].dueMs <= endMs) await this.#step();
    this.#nowMs = endMs;
  }

  /** Runs until `done` says so, or `limitMs` have passed; false if they have. */
  async runUntil(done: () => boolean, limitMs: number): Promise<boolean> {
    const endMs = this.#nowMs + limitMs;
    await settle();
    while (!done()) {
      if (this.#heap.length === 0 || this.#heap[0].dueMs > endMs) {
        this.#nowMs = endMs;
        return false;
      }
      await this.#step();
    }
    return true;
  }

  /** Runs until `promise` settles, at most `limitMs`; returns or throws what it does. */
  async run<Result>(promise: Promise<Result>, limitMs = 600_000): Promise<Result> {
    let settled = false;
    const mark = (): void => {
      settled = true;
    };
    promise.then(mark, mark);
    const endMs = this.#nowMs + limitMs;
    await settle();
    while (!settled) {
      assert(this.#heap.length > 0, "something is still due while a promise is awaited");
      assert(this.#heap[0].dueMs <= endMs, `the promise settles within ${limitMs} ms`);
      await this.#step();
    }
    return promise;
  }

  /** Lets time run as fast as what happens in it can, until the returned function is called. */
  runFreely(): () => void {
    let running = true;
    const loop = async (): Promise<void> => {
      await settle();
      while (running) {
        if (this.#heap.length > 0) await this.#step();
        else await settle();
      }
    };
    void loop();
    return () => {
      running = false;
    };
  }

  async #step(): Promise<void> {
    const timer = this.#pop();
    if (timer.callback === null) return;
    this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
    this.#steps += 1;
    timer.callback();
    await settle();
  }

  #pop(): SimTimer {
    const top = this.#heap[0];
    const last = this.#heap.pop() as SimTimer;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#sink();
    }
    return top;
  }

  #rise(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(this.#heap[at], this.#heap[parent])) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #sink(): void {
    let at = 0;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.#heap.length && before(this.#heap[child], this.#heap[least])) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #swap(a: number, b: number): void {
    const timer = this.#heap[a];
    this.#heap[a] = this.#heap[b];
    this.#heap[b] = timer;
  }
}

function before(a: SimTimer, b: SimTimer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}

/** A turn of the real event loop, in which every promise that can settle does. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
