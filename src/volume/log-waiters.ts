// LogWaiters: everybody who waits for a log: until a position is held, until it is durable, or until anything moves.

import { PositionQueue } from "./position-queue.ts";

export class LogWaiters {
  readonly #held = new PositionQueue();
  readonly #durable = new PositionQueue();
  #any: (() => void)[] = [];

  untilHeld(position: number): Promise<void> {
    return this.#held.wait(position);
  }

  untilDurable(position: number): Promise<void> {
    return this.#durable.wait(position);
  }

  /** Until the next `reached`, `wake` or `fail`. */
  untilAny(): Promise<void> {
    return new Promise((resolve) => this.#any.push(resolve));
  }

  reached(held: number, durable: number): void {
    this.#held.resolveUpTo(held);
    this.#durable.resolveUpTo(durable);
  }

  /** Wakes who waits for anything. */
  wake(): void {
    const waiters = this.#any;
    this.#any = [];
    for (const resolve of waiters) resolve();
  }

  /** What is held can still become durable; what is not held never may, and nobody is left waiting for it. */
  failUnheld(held: number, error: Error): void {
    this.#held.rejectAll(error);
    this.#durable.rejectAbove(held, error);
  }

  /** All who wait for a position fail. */
  fail(error: Error): void {
    this.#held.rejectAll(error);
    this.#durable.rejectAll(error);
  }
}
