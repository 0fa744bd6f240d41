// The lease of a writer as it sees it itself, without clocks or I/O. The lease counts from the *send* of the last renewal
// that was acknowledged, by whichever of monotonic and wall clock moved more since: a clock that stood still in suspend and a
// wall clock that was set back cannot both hide the time that passed [C24]. Before it can have run out, requests are held;
// once a renewal is acknowledged (lease and epoch are still this writer's) they go on; once another writer is seen, all is lost.

import { assert } from "#model";

/** Both clocks at one moment. */
export interface LeaseTime {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

export interface LeaseTimes {
  readonly ttlMs: number;
  /** Requests are held this long before the lease can have run out: room for timers that fire late. */
  readonly marginMs: number;
  /** A renewal without an answer is given up after this long and sent again. */
  readonly answerMs: number;
  /** After a failed renewal. */
  readonly retryMs: number;
}

export type LeaseEvent =
  | { readonly kind: "tick" }
  | { readonly kind: "acknowledged"; readonly sent: LeaseTime }
  | { readonly kind: "failed"; readonly sent: LeaseTime }
  | { readonly kind: "fenced" };

/** `renew`: send a renewal now, its `sent` is the event's time. `hold`: requests wait. `resume`: they go on. `lost`: they fail, for good. */
export type LeaseCommand = "renew" | "hold" | "resume" | "lost";

export type LeaseState = "serving" | "held" | "lost";

export function leaseTimes(ttlMs: number): LeaseTimes {
  return { ttlMs, marginMs: ttlMs / 5, answerMs: ttlMs / 3, retryMs: Math.min(1000, ttlMs / 10) };
}

/** How much time can have passed from `from` to `to`: the clock that moved more counts. */
export function elapsedMs(from: LeaseTime, to: LeaseTime): number {
  return Math.max(to.monotonicMs - from.monotonicMs, to.wallMs - from.wallMs);
}

export class LeaseMachine {
  readonly #times: LeaseTimes;
  #state: LeaseState = "serving";
  /** Send of the newest acknowledged renewal. */
  #acknowledged: LeaseTime;
  /** Send of the newest renewal. */
  #sent: LeaseTime;
  #answered = true;
  #failed = false;

  /** `granted`: when the lease was asked for. */
  constructor(times: LeaseTimes, granted: LeaseTime) {
    assert(times.marginMs > 0 && times.marginMs < times.ttlMs / 2, "the margin is less than half the lease");
    this.#times = times;
    this.#acknowledged = granted;
    this.#sent = granted;
  }

  get state(): LeaseState {
    return this.#state;
  }

  /** Whether an answer given at `now` is under a lease that cannot have run out. Ask before each answer: a timer may be late. */
  mayServe(now: LeaseTime): boolean {
    return this.#state === "serving" && !this.#expiring(now);
  }

  handle(event: LeaseEvent, now: LeaseTime): LeaseCommand[] {
    if (this.#state === "lost") return [];
    switch (event.kind) {
      case "tick":
        break;
      case "acknowledged":
        this.#acknowledge(event.sent);
        break;
      case "failed":
        if (event.sent === this.#sent) this.#failed = true;
        break;
      case "fenced":
        this.#state = "lost";
        return ["lost"];
    }
    return this.#decide(now);
  }

  /** How long until a tick is due, at most. */
  nextTickMs(now: LeaseTime): number {
    if (this.#state === "lost") return this.#times.ttlMs;
    const untilRenew = this.#renewAfterMs() - elapsedMs(this.#sent, now);
    const untilHold =
      this.#state === "held" ? Infinity : this.#holdAfterMs() - elapsedMs(this.#acknowledged, now);
    return Math.max(1, Math.min(untilRenew, untilHold));
  }

  #acknowledge(sent: LeaseTime): void {
    // Answers may come out of order; the newest send counts. Monotonic time orders sends of one process.
    if (sent.monotonicMs >= this.#acknowledged.monotonicMs) this.#acknowledged = sent;
    if (sent === this.#sent) this.#answered = true;
  }

  #decide(now: LeaseTime): LeaseCommand[] {
    const commands: LeaseCommand[] = [];
    if (this.#state === "serving" && this.#expiring(now)) {
      this.#state = "held";
      commands.push("hold");
    } else if (this.#state === "held" && !this.#expiring(now)) {
      this.#state = "serving";
      commands.push("resume");
    }
    if (elapsedMs(this.#sent, now) >= this.#renewAfterMs()) {
      this.#sent = now;
      this.#answered = false;
      this.#failed = false;
      commands.push("renew");
    }
    return commands;
  }

  #expiring(now: LeaseTime): boolean {
    return elapsedMs(this.#acknowledged, now) >= this.#holdAfterMs();
  }

  #holdAfterMs(): number {
    return this.#times.ttlMs - this.#times.marginMs;
  }

  /** Counted from the newest send. */
  #renewAfterMs(): number {
    if (this.#failed) return this.#times.retryMs;
    return this.#answered ? this.#times.ttlMs / 3 : this.#times.answerMs;
  }
}
