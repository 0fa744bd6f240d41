// Pacer: a budget in bytes a second that background work draws on, so that it never takes what users need. While users are
// busy (the guard says so) the budget shrinks to a share of itself; it never falls to nothing, or repair would wait for ever.

import type { Clock } from "#host";
import { sleep } from "#host";
import { assert } from "#model";

export interface PacerOptions {
  /** Changed live by setRate. */
  readonly bytesPerSecond: number;
  /** What is left of the budget (0..1) while users are busy. */
  readonly busyShare: number;
}

export interface PacerDeps {
  readonly clock: Clock;
  /** Users would notice background work now. */
  readonly isBusy: () => boolean;
}

/** Unused budget is kept for this long, no longer: after a pause there is no flood. */
const burstMs = 250;

export class Pacer {
  readonly #deps: PacerDeps;
  readonly #busyShare: number;
  #bytesPerSecond: number;
  /** When the budget drawn so far is paid for. */
  #paidMs: number;

  constructor(options: PacerOptions, deps: PacerDeps) {
    assert(options.bytesPerSecond > 0, "a budget is above zero");
    this.#deps = deps;
    this.#busyShare = options.busyShare;
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#paidMs = deps.clock.monotonicMs();
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  setRate(bytesPerSecond: number): void {
    assert(bytesPerSecond > 0, "a budget is above zero");
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when `bytes` may be moved. Whoever comes later waits longer. */
  async take(bytes: number): Promise<void> {
    const { clock, isBusy } = this.#deps;
    const rate = this.#bytesPerSecond * (isBusy() ? this.#busyShare : 1);
    const nowMs = clock.monotonicMs();
    this.#paidMs = Math.max(this.#paidMs, nowMs - burstMs) + (bytes * 1000) / rate;
    if (this.#paidMs > nowMs) await sleep(clock, this.#paidMs - nowMs);
  }
}
