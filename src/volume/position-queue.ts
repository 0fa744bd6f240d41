// PositionQueue: those who wait for the log to reach a position. Answered in the order of their coming, which is cumulative:
// nobody is answered before somebody who came earlier with a position that is not reached.

interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class PositionQueue {
  #waiters: Waiter[] = [];
  #first = 0;

  wait(position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ position, resolve, reject });
    });
  }

  resolveUpTo(position: number): void {
    while (this.#first < this.#waiters.length && this.#waiters[this.#first].position <= position) {
      this.#waiters[this.#first].resolve();
      this.#first += 1;
    }
    if (this.#first > 1024 || this.#first === this.#waiters.length) {
      this.#waiters = this.#waiters.slice(this.#first);
      this.#first = 0;
    }
  }

  rejectAll(error: Error): void {
    this.rejectAbove(Number.NEGATIVE_INFINITY, error);
  }

  /** Those who wait for more than `position` are told `error`; the others wait on. */
  rejectAbove(position: number, error: Error): void {
    const waiters = this.#waiters.slice(this.#first);
    this.#waiters = waiters.filter((waiter) => waiter.position <= position);
    this.#first = 0;
    for (const waiter of waiters) if (waiter.position > position) waiter.reject(error);
  }
}
