// Pacer: a budget in bytes a second that background work draws on, so that it never takes what users need. A guard says which share of it is
// left at any moment; who waits looks again and again, since what was little a moment ago may be all now.

import type { Clock } from "#host";
import { sleep } from "#host";
import { assert } from "#model";
import type { Guard } from "./latency-guard.ts";

export interface PacerOptions {
  /** Changed live by setRate. */
  readonly bytesPerSecond: number;
}

export interface PacerDeps {
  readonly clock: Clock;
  readonly guard: Guard;
}

/** Unused budget is kept for this long, no longer: after a pause there is no flood. */
const burstMs = 250;
/** Who waits looks after this long, at the latest, what is left of the budget. */
const lookEveryMs = 100;

export class Pacer {
  readonly #deps: PacerDeps;
  #bytesPerSecond: number;
  /** Bytes that could have been moved so far, and that were asked for. */
  #earned = 0;
  #taken = 0;
  #earnedMs: number;

  constructor(options: PacerOptions, deps: PacerDeps) {
    assert(options.bytesPerSecond > 0, "a budget is above zero");
    this.#deps = deps;
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#earnedMs = deps.clock.monotonicMs();
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  setRate(bytesPerSecond: number): void {
    assert(bytesPerSecond > 0, "a budget is above zero");
    this.#earn();
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when `bytes` may be moved, or after `waitMsMax` all the same. Whoever comes later waits longer. */
  async take(bytes: number, waitMsMax = Number.POSITIVE_INFINITY): Promise<void> {
    const { clock, guard } = this.#deps;
    this.#earn();
    this.#taken += bytes;
    const due = this.#taken;
    const endMs = clock.monotonicMs() + waitMsMax;
    for (let rate = this.#earn(); this.#earned < due && clock.monotonicMs() < endMs; rate = this.#earn()) {
      const waitMs = rate === 0 ? lookEveryMs : ((due - this.#earned) * 1000) / rate;
      await sleep(clock, Math.max(1, Math.min(waitMs, lookEveryMs)));
    }
    // What was not waited for is forgiven: a flood is no reason to wait when it is over.
    this.#earned = Math.max(this.#earned, due);
    guard.moved(bytes);
  }

  /** Adds what could have been moved since it was last asked, at the rate of now, which it returns. */
  #earn(): number {
    const { clock, guard } = this.#deps;
    const nowMs = clock.monotonicMs();
    const rate = this.#bytesPerSecond * guard.share();
    const most = Math.max(this.#earned, this.#taken + (rate * burstMs) / 1000);
    this.#earned = Math.min(most, this.#earned + (rate * (nowMs - this.#earnedMs)) / 1000);
    this.#earnedMs = nowMs;
    return rate;
  }
}
