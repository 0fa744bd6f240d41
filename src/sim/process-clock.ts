// ProcessClock: time as one simulated process sees it. Its clocks may run fast or slow and its wall clock jump; it can be
// stopped (SIGSTOP: what is due waits, and all of it comes when it goes on), suspended with its machine (the same, and its monotonic
// clock stands still meanwhile), and killed (nothing of it ever runs again, because whatever a process does next hangs on a timer, a
// connection or an answer that does not come).

import type { Clock, Timer } from "#host";

export interface ProcessClockOptions {
  /** Seconds it counts per second that passes. */
  readonly rate: number;
  readonly wallJumpMs: number;
}

/** Timers of clocks that were converted back and forth come this much early without being early. */
const roundingMs = 1e-6;

export class ProcessClock implements Clock {
  readonly #clock: Clock;
  readonly #rate: number;
  readonly #startedMs: number;
  readonly #startedWallMs: number;
  #jumpMs: number;
  /** Time spent in suspension, which the monotonic clock has not seen. */
  #suspendedMs = 0;
  /** When the suspension at hand began, by the clock outside. */
  #suspendedAtMs: number | null = null;
  #stopped = false;
  #alive = true;
  #due: (() => void)[] = [];

  constructor(options: ProcessClockOptions, clock: Clock) {
    this.#clock = clock;
    this.#rate = options.rate;
    this.#jumpMs = options.wallJumpMs;
    this.#startedMs = clock.monotonicMs();
    this.#startedWallMs = clock.wallMs();
  }

  get alive(): boolean {
    return this.#alive;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  monotonicMs(): number {
    const nowMs = this.#suspendedAtMs ?? this.#clock.monotonicMs();
    return this.#startedMs + (nowMs - this.#startedMs - this.#suspendedMs) * this.#rate;
  }

  wallMs(): number {
    const passedMs = (this.#clock.monotonicMs() - this.#startedMs) * this.#rate;
    return Math.floor(this.#startedWallMs + passedMs + this.#jumpMs);
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    let cancelled = false;
    const dueMs = this.monotonicMs() + delayMs;
    const run = (): void => {
      if (cancelled || !this.#alive) return;
      if (this.#stopped) {
        this.#due.push(run);
        return;
      }
      const earlyMs = dueMs - this.monotonicMs();
      if (earlyMs > roundingMs) timer = this.#clock.setTimer(earlyMs / this.#rate, run);
      else callback();
    };
    let timer = this.#clock.setTimer(delayMs / this.#rate, run);
    return {
      cancel: () => {
        cancelled = true;
        timer.cancel();
      },
    };
  }

  jumpWall(byMs: number): void {
    this.#jumpMs += byMs;
  }

  stop(options: { readonly suspend?: boolean } = {}): void {
    this.#stopped = true;
    if (options.suspend) this.#suspendedAtMs = this.#clock.monotonicMs();
  }

  /** What came due meanwhile comes now, in its order. */
  proceed(): void {
    this.#stopped = false;
    if (this.#suspendedAtMs !== null) {
      this.#suspendedMs += this.#clock.monotonicMs() - this.#suspendedAtMs;
      this.#suspendedAtMs = null;
    }
    const due = this.#due;
    this.#due = [];
    for (const run of due) this.#clock.setTimer(0, run);
  }

  kill(): void {
    this.#alive = false;
    this.#stopped = false;
    this.#due = [];
  }
}
