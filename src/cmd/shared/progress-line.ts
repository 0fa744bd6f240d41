// ProgressLine: how far something is that others do, on standard error: one line that is written over on a terminal, elsewhere a line when it says
// something new, now and then.

import type { Clock } from "#host";

export interface ProgressLineDeps {
  readonly clock: Clock;
  readonly write: (text: string) => void;
}

const lineEveryMs = 5000;
/** Carriage return, and erase to the end of the line. */
const overwrite = "\r\x1b[K";

export class ProgressLine {
  readonly #isTerminal: boolean;
  readonly #deps: ProgressLineDeps;
  #last = "";
  #shownMs = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly isTerminal: boolean }, deps: ProgressLineDeps) {
    this.#isTerminal = options.isTerminal;
    this.#deps = deps;
  }

  say(line: string): void {
    const nowMs = this.#deps.clock.monotonicMs();
    if (line === this.#last || (!this.#isTerminal && nowMs - this.#shownMs < lineEveryMs)) return;
    this.#last = line;
    this.#shownMs = nowMs;
    this.#deps.write(this.#isTerminal ? `${overwrite}${line}` : `${line}\n`);
  }

  /** Takes the line away, so that what comes next stands alone. */
  end(): void {
    if (this.#isTerminal && this.#last !== "") this.#deps.write(overwrite);
    this.#last = "";
  }
}
