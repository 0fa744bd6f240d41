// LatencyGuardMachine: how much of its budget background work may use now, told by what users wait for. The idea is that of LEDBAT (RFC 6817):
// whoever scavenges compares the present delay with the delay there is without it, and makes room when it is the cause.
//
// Time is cut into windows. Of each it takes how long nearly all requests of users took (the 95th percentile of each kind), and how long this thread let
// things wait that were due (on average: that is what whoever comes at any moment has to expect). Windows in which nothing was moved say what is normal; while moving goes on for long, a window is kept free
// for that now and then, since what is normal changes with what users do. A window that took much longer than normal halves the share,
// each other one raises it a little: it falls fast and rises slowly. Where no user waits nobody is hindered, and the share grows quickly.
// It never falls to nothing for longer than one such window: data that lacks copies must get them in the end.

import type { UserRequest } from "#model";
import { userRequests } from "#model";

export interface LatencyGuardOptions {
  readonly windowMs: number;
  /** Requests of a window below which nobody is said to wait. */
  readonly requestsMin: number;
  /** A window is too slow when it took more than so many times what is normal, and that much longer. */
  readonly slowFactor: number;
  readonly slowMs: number;
  /** What is left to begin with, for who has moved nothing for `restMs` while users were there. */
  readonly shareFirst: number;
  readonly restMs: number;
  /** The least that is left of the budget. */
  readonly shareMin: number;
  /** What a window that was not too slow adds; twice the share at most. */
  readonly shareStep: number;
  /** While something moves, what is normal is looked at again after so long. */
  readonly quietEveryMs: number;
}

export const latencyGuardDefaults: LatencyGuardOptions = {
  windowMs: 500,
  requestsMin: 4,
  slowFactor: 1.5,
  slowMs: 2,
  shareFirst: 1 / 8,
  restMs: 2000,
  shareMin: 1 / 64,
  shareStep: 1 / 16,
  quietEveryMs: 10_000,
};

const quantile = 0.95;
const samplesMax = 256;
/** How much a new quiet window counts against those before. */
const normalWeight = 0.25;

/** One kind of waiting: what of it is normal, and what there was in the present window. */
class Waiting {
  readonly #samples: number[] = [];
  readonly #summary: (sorted: readonly number[]) => number;
  /** Of all, kept or not. */
  count = 0;
  normalMs: number | null = null;

  constructor(summary: (sorted: readonly number[]) => number) {
    this.#summary = summary;
  }

  add(ms: number): void {
    if (this.#samples.length < samplesMax) this.#samples.push(ms);
    else this.#samples[this.count % samplesMax] = ms;
    this.count += 1;
  }

  /** What the window took; it is over. Null when there was nothing. */
  take(): number | null {
    if (this.#samples.length === 0) return null;
    const value = this.#summary(this.#samples.sort((a, b) => a - b));
    this.#samples.length = 0;
    this.count = 0;
    return value;
  }

  learn(ms: number): void {
    this.normalMs = this.normalMs === null ? ms : this.normalMs + normalWeight * (ms - this.normalMs);
  }
}

/** What nearly all took at most. */
function nearlyMost(sorted: readonly number[]): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export class LatencyGuardMachine {
  readonly #options: LatencyGuardOptions;
  readonly #requests = new Map(userRequests.map((kind) => [kind, new Waiting(nearlyMost)]));
  readonly #turns = new Waiting(mean);
  #share = 1;
  #windowMs: number;
  /** Bytes moved in this window and in the one before: what was moved is still felt in the next. */
  #movedBytes = 0;
  #movedBefore = 0;
  #movedMs = Number.NEGATIVE_INFINITY;
  #quietMs: number;
  /** The present window is kept free. */
  #isQuiet = false;

  constructor(options: LatencyGuardOptions, nowMs: number) {
    this.#options = options;
    this.#windowMs = nowMs;
    this.#quietMs = nowMs;
  }

  /** A user's request was answered, so long after it came. */
  served(nowMs: number, kind: UserRequest, tookMs: number): void {
    this.#pass(nowMs);
    this.#requests.get(kind)?.add(tookMs);
  }

  /** Something of this thread that was due had to wait so long. */
  waited(nowMs: number, waitedMs: number): void {
    this.#pass(nowMs);
    this.#turns.add(waitedMs);
  }

  /** Background work moved so much. */
  moved(nowMs: number, bytes: number): void {
    this.#pass(nowMs);
    this.#movedBytes += bytes;
    this.#movedMs = nowMs;
  }

  /** What may be used of the budget, 0 to 1; 0 only for the rest of a window. */
  share(nowMs: number): number {
    this.#pass(nowMs);
    return this.#isQuiet ? 0 : this.#share;
  }

  /** What users normally wait for it, in milliseconds; null while that is not known. */
  normalMs(kind: UserRequest): number | null {
    return this.#requests.get(kind)?.normalMs ?? null;
  }

  #pass(nowMs: number): void {
    const { windowMs } = this.#options;
    const passedMs = nowMs - this.#windowMs;
    if (passedMs < windowMs) return;
    this.#end(nowMs);
    this.#windowMs = nowMs;
    // Whole windows without anything: nobody waited in them.
    if (passedMs >= 2 * windowMs) this.#movedBefore = 0;
  }

  #end(nowMs: number): void {
    const { requestsMin, restMs, shareFirst, shareMin, shareStep, quietEveryMs } = this.#options;
    const requests = [...this.#requests.values()];
    const served = requests.reduce((sum, { count }) => sum + count, 0);
    const window = [...requests, this.#turns].map((waiting) => ({ waiting, ms: waiting.take() }));
    const wasQuiet = this.#movedBytes === 0 && this.#movedBefore === 0;
    const isMoving = this.#movedBytes > 0 || this.#isQuiet;
    this.#movedBefore = this.#movedBytes;
    this.#movedBytes = 0;
    const kept = this.#isQuiet;
    this.#isQuiet = false;
    if (served < requestsMin) {
      this.#share = Math.min(1, this.#share * 2);
      return;
    }
    if (wasQuiet || kept) {
      this.#quietMs = nowMs;
      for (const { waiting, ms } of window) if (ms !== null) waiting.learn(ms);
      // Whoever begins to move while users wait begins with little.
      if (nowMs - this.#movedMs >= restMs) this.#share = Math.min(this.#share, shareFirst);
      return;
    }
    if (window.some(({ waiting, ms }) => this.#isSlow(waiting, ms)))
      this.#share = Math.max(shareMin, this.#share / 2);
    else this.#share = Math.min(1, this.#share + Math.min(this.#share, shareStep));
    this.#isQuiet = isMoving && nowMs - this.#quietMs >= quietEveryMs;
  }

  #isSlow({ normalMs }: Waiting, ms: number | null): boolean {
    const { slowFactor, slowMs } = this.#options;
    return ms !== null && normalMs !== null && ms > Math.max(normalMs * slowFactor, normalMs + slowMs);
  }
}
