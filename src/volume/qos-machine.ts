// QosMachine: decides when a request of a limited volume may go. Two buckets fill at the rates that the volume is limited to, one with
// requests, one with bytes, up to what a burst may take; a request goes when both have what it costs, or are full, and then takes it.
//
// A request that costs more than a full bucket holds leaves it in debt, so that the rate is kept whatever the sizes; nothing is
// refused.

import type { QosLimits } from "#metadata";

class Bucket {
  readonly #perMs: number;
  readonly #capacity: number;
  #level: number;
  #atMs: number;

  constructor(options: { readonly perSecond: number; readonly capacity: number }, nowMs: number) {
    this.#perMs = options.perSecond / 1000;
    this.#capacity = options.capacity;
    this.#level = options.capacity;
    this.#atMs = nowMs;
  }

  /** Until it has `cost`, or is full; 0 when that is so now. */
  waitMs(cost: number, nowMs: number): number {
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#level = Math.min(this.#capacity, this.#level + passedMs * this.#perMs);
    this.#atMs = nowMs;
    return Math.max(0, (Math.min(cost, this.#capacity) - this.#level) / this.#perMs);
  }

  take(cost: number): void {
    this.#level -= cost;
  }
}

export class QosMachine {
  readonly #requests: Bucket | null;
  readonly #bytes: Bucket | null;

  constructor({ iops, bytesPerSecond, burstMs }: QosLimits, nowMs: number) {
    const bucket = (perSecond: number | null): Bucket | null => {
      if (perSecond === null) return null;
      return new Bucket({ perSecond, capacity: Math.max(1, (perSecond * burstMs) / 1000) }, nowMs);
    };
    this.#requests = bucket(iops);
    this.#bytes = bucket(bytesPerSecond);
  }

  get isUnlimited(): boolean {
    return this.#requests === null && this.#bytes === null;
  }

  /** 0: the request goes, and has been counted. Else nothing goes before so many milliseconds have passed. */
  take(bytes: number, nowMs: number): number {
    const waitMs = Math.max(this.#requests?.waitMs(1, nowMs) ?? 0, this.#bytes?.waitMs(bytes, nowMs) ?? 0);
    if (waitMs > toleranceMs) return waitMs;
    this.#requests?.take(1);
    this.#bytes?.take(bytes);
    return 0;
  }
}

/** What the sums of fractions may be off by. */
const toleranceMs = 1e-6;
