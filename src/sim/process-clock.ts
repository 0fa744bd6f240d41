// ProcessClock: time as one simulated process sees it. Its clocks may run fast or slow and its wall clock jump; it can be
// stopped (SIGSTOP: what is due waits, and all of it comes when it goes on) and killed (nothing of it ever runs again, because
// whatever a process does next hangs on a timer, a connection or an answer that does not come).

import type { Clock, Timer } from "#host";

export interface ProcessClockOptions {
  /** Seconds it counts per second that passes. */
  readonly rate: number;
  readonly wallJumpMs: number;
}

export class ProcessClock implements Clock {
  readonly #clock: Clock;
  readonly #rate: number;
  readonly #startedMs: number;
  readonly #startedWallMs: number;
  #jumpMs: number;
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
    return this.#startedMs + (this.#clock.monotonicMs() - this.#startedMs) * this.#rate;
  }

  wallMs(): number {
    const passedMs = (this.#clock.monotonicMs() - this.#startedMs) * this.#rate;
    return Math.floor(this.#startedWallMs + passedMs + this.#jumpMs);
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    let cancelled = false;
    const timer = this.#clock.setTimer(delayMs / this.#rate, () => {
      if (this.#stopped) this.#due.push(() => cancelled || callback());
      else if (this.#alive) callback();
    });
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

  stop(): void {
    this.#stopped = true;
  }

  /** What came due meanwhile comes now, in its order. */
  proceed(): void {
    this.#stopped = false;
    const due = this.#due;
    this.#due = [];
    for (const callback of due) this.#clock.setTimer(0, () => this.#alive && callback());
  }

  kill(): void {
    this.#alive = false;
    this.#stopped = false;
    this.#due = [];
  }
}
