// MemoryBudget: how many bytes all connections of a server may hold in requests and answers. Over it connections stop reading and are
// woken, oldest first, when bytes are given back: senders are slowed, the process does not grow.

import { assert } from "#model";

export class MemoryBudget {
  readonly #bytesMax: number;
  readonly #waiting = new Set<() => void>();
  #bytes = 0;
  #isSqueezed = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get full(): boolean {
    return this.#bytes >= (this.#isSqueezed ? Math.floor(this.#bytesMax / squeezedPart) : this.#bytesMax);
  }

  /** Counts `bytes`; the last to come before it is full may pass the limit, so no size can wait for ever. */
  take(bytes: number): void {
    this.#bytes += bytes;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
    assert(this.#bytes >= 0, "no more bytes are given back than were taken");
    this.#wake();
  }

  /** The process comes near its ceiling: an eighth must do until it is told otherwise, so that it goes on, slowly. */
  squeeze(isSqueezed: boolean): void {
    this.#isSqueezed = isSqueezed;
    this.#wake();
  }

  /** Calls `wake` once, when there is room again. */
  wait(wake: () => void): void {
    this.#waiting.add(wake);
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake);
  }

  #wake(): void {
    for (const wake of this.#waiting) {
      if (this.full) return;
      this.#waiting.delete(wake);
      wake();
    }
  }
}

const squeezedPart = 8;
