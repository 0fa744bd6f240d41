// What the tests of DiskStore share: a clock that is stepped, a log that is kept, and a store on a simulated drive.

import assert from "node:assert/strict";
import type { Clock, Disk, Log } from "#host";
import { Metrics } from "#host";
import { systemClock } from "#host/node";
import type { BlockRef, TorusError } from "#model";
import { SimulatedDrive } from "../sim/disk.ts";
import { SeededRandom } from "../sim/random.ts";
import { DiskStore } from "./disk-store.ts";
import type { DiskStoreOptions } from "./store-opening.ts";

/** A clock that stands still until `step` moves it to its next timer. */
export class SteppedClock implements Clock {
  #now = 0;
  #timers: { at: number; callback: () => void }[] = [];

  monotonicMs(): number {
    return this.#now;
  }

  wallMs(): number {
    return this.#now;
  }

  setTimer(delayMs: number, callback: () => void): { cancel(): void } {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  /** Lets all that is due in this turn happen, then fires the next timer; false when there is none. */
  async step(): Promise<boolean> {
    await new Promise(setImmediate);
    if (this.#timers.length === 0) return false;
    this.#timers.sort((a, b) => a.at - b.at);
    const timer = this.#timers.shift()!;
    this.#now = Math.max(this.#now, timer.at);
    timer.callback();
    return true;
  }

  /** Steps until `promise` settles. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const note = (): void => {
      settled = true;
    };
    promise.then(note, note);
    for (let idle = 0; !settled && idle < 100; ) idle = (await this.step()) ? 0 : idle + 1;
    assert.ok(settled, "nothing is left to happen, and it is still waited for");
    return promise;
  }
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
}

/** A log that keeps its lines. */
export function keptLog(lines: LogLine[] = []): Log {
  const at = (level: string) => (message: string) => {
    lines.push({ level, message });
  };
  const log: Log = {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => log,
  };
  return log;
}

export const testBlockBytes = 256 * 1024;
export const testOptions: DiskStoreOptions = { blockBytes: testBlockBytes, sizeBytes: 16 * 1024 * 1024 };

export function testDrive(seed = 1): SimulatedDrive {
  return new SimulatedDrive({ capacityBytes: 2 ** 30 }, { random: new SeededRandom(seed) });
}

export interface OpenedOn {
  readonly store: DiskStore;
  readonly metrics: Metrics;
  readonly lines: LogLine[];
  readonly poisons: TorusError[];
}

export async function openOn(
  disk: Disk,
  options: Partial<DiskStoreOptions> = {},
  seed = 1,
  clock: Clock = systemClock,
): Promise<OpenedOn> {
  const metrics = new Metrics();
  const lines: LogLine[] = [];
  const poisons: TorusError[] = [];
  const store = await DiskStore.open(
    { ...testOptions, ...options },
    {
      disk,
      clock,
      random: new SeededRandom(seed),
      log: keptLog(lines),
      metrics,
      onPoisoned: (error) => poisons.push(error),
    },
  );
  return { store, metrics, lines, poisons };
}

export function metric(metrics: Metrics, name: string): number {
  return metrics.collect().find((sample) => sample.name === name)?.value ?? Number.NaN;
}

export const dataRef = (index: number, changes: Partial<BlockRef> = {}): BlockRef => ({
  type: 0,
  volume: 7,
  epoch: 3,
  index,
  ...changes,
});
