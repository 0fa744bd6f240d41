// BusyMeter: whether users keep this peer busy, told by how fast a counter of what they do has grown over the last second.

import type { Clock } from "#host";

export interface BusyMeterOptions {
  /** Above this much a second it is busy. */
  readonly perSecond: number;
}

const spanMs = 1000;

export class BusyMeter {
  readonly #options: BusyMeterOptions;
  readonly #clock: Clock;
  readonly #read: () => number;
  #sinceMs: number;
  #value: number;
  #isBusy = false;

  constructor(options: BusyMeterOptions, deps: { readonly clock: Clock; readonly read: () => number }) {
    this.#options = options;
    this.#clock = deps.clock;
    this.#read = deps.read;
    this.#sinceMs = deps.clock.monotonicMs();
    this.#value = deps.read();
  }

  /** To be asked now and then, by whoever is about to work in the background. */
  isBusy(): boolean {
    const nowMs = this.#clock.monotonicMs();
    const passedMs = nowMs - this.#sinceMs;
    if (passedMs < spanMs) return this.#isBusy;
    const value = this.#read();
    this.#isBusy = ((value - this.#value) * 1000) / passedMs > this.#options.perSecond;
    this.#sinceMs = nowMs;
    this.#value = value;
    return this.#isBusy;
  }
}
