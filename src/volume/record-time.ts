// RecordTime: the time that each record of a log carries. It never goes back within a volume, whatever the wall clock does: what the volume was at a
// time is all records up to that time, and must be a beginning of the log.

import type { Clock } from "#host";

export class RecordTime {
  readonly #clock: Clock;
  #lastMs = 0;
  #pastMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Of the newest record, or as far as `notBefore` says; 0 before there is either. */
  get lastMs(): number {
    return this.#lastMs;
  }

  /** Of the record that is closed now. */
  next(): number {
    this.notBefore(this.#pastMs ?? this.#clock.wallMs());
    return this.#lastMs;
  }

  /** No record from now on has an earlier time. */
  notBefore(timeMs: number): void {
    if (timeMs > this.#lastMs) this.#lastMs = timeMs;
  }

  /** What is appended from now on is of this time, because it was appended then before; null: of the present. */
  appendAsOf(timeMs: number | null): void {
    this.#pastMs = timeMs;
  }
}
