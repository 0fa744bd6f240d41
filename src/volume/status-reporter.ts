// StatusReporter: tells the metadata service what a volume waits for, so that `volume list` can show it. Best effort and not
// for every blink: a condition is reported when it has lasted a moment, and taken back when it is over.

import type { Clock, Log, Timer } from "#host";
import { messageOf } from "#model";

export interface StatusReporterDeps {
  readonly set: (condition: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

const settleMs = 500;

export class StatusReporter {
  readonly #deps: StatusReporterDeps;
  #wanted = "";
  #told = "";
  #timer: Timer | null = null;
  #closed = false;

  constructor(deps: StatusReporterDeps) {
    this.#deps = deps;
  }

  report(condition: string): void {
    this.#wanted = condition;
    if (this.#timer === null && !this.#closed && this.#wanted !== this.#told) {
      this.#timer = this.#deps.clock.setTimer(settleMs, () => {
        this.#timer = null;
        void this.#tell();
      });
    }
  }

  /** What was told may be gone (the lease it went with was replaced): tell it again. */
  again(): void {
    this.#told = "";
    this.report(this.#wanted);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #tell(): Promise<void> {
    const condition = this.#wanted;
    if (condition === this.#told || this.#closed) return;
    try {
      await this.#deps.set(condition);
      this.#told = condition;
    } catch (error) {
      this.#deps.log.debug("the volume's condition could not be reported", { reason: messageOf(error) });
    }
    this.report(this.#wanted);
  }
}
