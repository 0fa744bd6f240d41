// LatencyGuard: measures what users wait for at one peer and says how much background work may be done beside them. Whoever serves tells it of
// each request; how long this thread keeps things waiting it finds out by a timer that should have fired by then, which runs only
// while something is being moved.

import type { Clock, Metrics, Timer } from "#host";
import type { UserRequest } from "#model";
import { userRequests } from "#model";
import type { LatencyGuardOptions } from "./latency-guard-machine.ts";
import { LatencyGuardMachine } from "./latency-guard-machine.ts";

/** What paces background work: the share of a budget that may be used now, told how much was. */
export interface Guard {
  /** 0 to 1. */
  share(): number;
  moved(bytes: number): void;
}

/** Nobody serves users here, or nobody minds. */
export const noGuard: Guard = { share: () => 1, moved: () => {} };

/** How often it is looked whether this thread keeps things waiting. */
const lookEveryMs = 20;
/** It is not looked any more when nothing was moved for so long. */
const restAfterMs = 5000;

export class LatencyGuard implements Guard {
  readonly #clock: Clock;
  readonly #machine: LatencyGuardMachine;
  #timer: Timer | null = null;
  #movedMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: LatencyGuardOptions, deps: { readonly clock: Clock; readonly metrics: Metrics }) {
    this.#clock = deps.clock;
    this.#machine = new LatencyGuardMachine(options, deps.clock.monotonicMs());
    deps.metrics.gauge(
      "torus_upkeep_budget_share",
      "What is left of the budget of background work beside users, 0 to 1.",
      () => this.#machine.share(this.#clock.monotonicMs()),
    );
    for (const kind of userRequests)
      deps.metrics.gauge(
        `torus_upkeep_user_${kind}_seconds`,
        `What nearly every ${kind} of users takes at most while nothing is moved, as last measured.`,
        () => (this.#machine.normalMs(kind) ?? 0) / 1000,
      );
  }

  /** A user's request came at `startedMs` and is answered now. */
  served(kind: UserRequest, startedMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    this.#machine.served(nowMs, kind, nowMs - startedMs);
  }

  share(): number {
    this.#wake();
    return this.#machine.share(this.#clock.monotonicMs());
  }

  moved(bytes: number): void {
    this.#wake();
    this.#machine.moved(this.#clock.monotonicMs(), bytes);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #wake(): void {
    this.#movedMs = this.#clock.monotonicMs();
    if (this.#timer === null && !this.#closed) this.#look();
  }

  #look(): void {
    const dueMs = this.#clock.monotonicMs() + lookEveryMs;
    this.#timer = this.#clock.setTimer(lookEveryMs, () => {
      this.#timer = null;
      const nowMs = this.#clock.monotonicMs();
      this.#machine.waited(nowMs, Math.max(0, nowMs - dueMs));
      if (!this.#closed && nowMs - this.#movedMs < restAfterMs) this.#look();
    });
  }
}
