// ProgressBar: how far a long copy is, on standard error: one line that is written over on a terminal, lines now and then elsewhere.

import type { Clock } from "#host";
import { formatBytes } from "#model";

export interface ProgressBarOptions {
  readonly title: string;
  /** Asked for: shown at once, terminal or not. Else only on a terminal, once it takes longer than `patienceMs`. */
  readonly forced: boolean;
  readonly isTerminal: boolean;
}

export interface ProgressBarDeps {
  readonly clock: Clock;
  readonly write: (text: string) => void;
}

const patienceMs = 2000;
const terminalEveryMs = 200;
const lineEveryMs = 2000;
const barChars = 20;
/** Carriage return, and erase to the end of the line. */
const overwrite = "\r\x1b[K";

export class ProgressBar {
  readonly #options: ProgressBarOptions;
  readonly #deps: ProgressBarDeps;
  readonly #startedMs: number;
  #shownMs = Number.NEGATIVE_INFINITY;
  #isShown = false;

  constructor(options: ProgressBarOptions, deps: ProgressBarDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#startedMs = deps.clock.monotonicMs();
  }

  /** `totalBytes` null: not known. */
  update(doneBytes: number, totalBytes: number | null): void {
    const { forced, isTerminal } = this.#options;
    const nowMs = this.#deps.clock.monotonicMs();
    const spentMs = nowMs - this.#startedMs;
    if (!forced && !(isTerminal && spentMs >= patienceMs)) return;
    if (nowMs - this.#shownMs < (isTerminal ? terminalEveryMs : lineEveryMs)) return;
    this.#shownMs = nowMs;
    this.#isShown = true;
    const line = describe(this.#options.title, doneBytes, totalBytes, spentMs);
    this.#deps.write(isTerminal ? `${overwrite}${line}` : `${line}\n`);
  }

  /** Takes the line away, so that what comes next stands alone. */
  end(): void {
    if (this.#isShown && this.#options.isTerminal) this.#deps.write(overwrite);
    this.#isShown = false;
  }
}

function describe(title: string, doneBytes: number, totalBytes: number | null, spentMs: number): string {
  const rate = spentMs > 0 ? (doneBytes / spentMs) * 1000 : 0;
  const speed = `${formatBytes(Math.round(rate))}/s`;
  if (totalBytes === null) return `${title}: ${formatBytes(doneBytes)}, ${speed}`;
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const full = Math.floor(share * barChars);
  const bar = `[${"#".repeat(full)}${".".repeat(barChars - full)}]`;
  const left = rate > 0 ? `, about ${describeTime(((totalBytes - doneBytes) / rate) * 1000)} left` : "";
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  return `${title}: ${bar}${percent}, ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}, ${speed}${left}`;
}

/** 7s, 12m, 5h: rounded up. */
export function describeTime(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  return seconds < 7200 ? `${Math.ceil(seconds / 60)}m` : `${Math.ceil(seconds / 3600)}h`;
}
