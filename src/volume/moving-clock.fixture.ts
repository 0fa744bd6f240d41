// A clock that moves when somebody waits: to the next timer, as soon as nothing else is left to do in this turn. So nothing waits in
// earnest, and how long it would have is exact.

import type { Clock } from "#host";

interface Due {
  readonly atMs: number;
  readonly callback: () => void;
}

export class MovingClock implements Clock {
  #nowMs = 0;
  #due: Due[] = [];
  #moving = false;

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): { cancel(): void } {
    const due = { atMs: this.#nowMs + delayMs, callback };
    this.#due.push(due);
    this.#moveSoon();
    return {
      cancel: () => {
        this.#due = this.#due.filter((other) => other !== due);
      },
    };
  }

  #moveSoon(): void {
    if (this.#moving) return;
    this.#moving = true;
    setImmediate(() => {
      this.#moving = false;
      this.#due.sort((a, b) => a.atMs - b.atMs);
      const next = this.#due.shift();
      if (next === undefined) return;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.callback();
      this.#moveSoon();
    });
  }
}
