// Trace: the history of a run, line by line, as a sum of all of it and the last lines in full. Two runs of one seed have the
// same sum.

import type { Clock } from "#host";
import { crc32 } from "#model";

const keptLinesMax = 20_000;

export class Trace {
  readonly #clock: Clock;
  readonly #onLine: ((line: string) => void) | null;
  #lines: string[] = [];
  #count = 0;
  #sum = 0;

  constructor(clock: Clock, onLine: ((line: string) => void) | null) {
    this.#clock = clock;
    this.#onLine = onLine;
  }

  /** `who`: a machine, or what acts on all. */
  add(who: string, what: string): void {
    const line = `${this.#clock.monotonicMs().toFixed(3).padStart(12)} ${who.padEnd(8)} ${what}`;
    this.#count += 1;
    this.#sum = crc32(Buffer.from(line), this.#sum);
    this.#lines.push(line);
    if (this.#lines.length > 2 * keptLinesMax) this.#lines = this.#lines.slice(-keptLinesMax);
    this.#onLine?.(line);
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  get count(): number {
    return this.#count;
  }

  /** Of every line so far, in order. */
  get sum(): string {
    return `${this.#count}-${this.#sum.toString(16).padStart(8, "0")}`;
  }
}
