// Flusher: group commit. At most one fdatasync of a file is under way; whoever asks meanwhile shares the next one. A
// request is answered by an fdatasync that *started* after it was made, so all that was written before is covered.

import type { Counter, DiskFile } from "#host";
import type { Health } from "./health.ts";

export interface FlusherDeps {
  readonly file: DiskFile;
  readonly health: Health;
  readonly flushes: Counter;
  /** Resolves when nothing is being written in the background, and nothing more will be before `prepare`; null when that is so now. */
  readonly settle: () => Promise<void> | null;
  /**
   * Called right before each fdatasync to write what those who wait want written; what it returns is called when that
   * fdatasync has succeeded, before anyone is answered.
   */
  readonly prepare: () => () => void;
}

interface Waiter {
  /** Called right before the fdatasync; null for nothing. */
  readonly before: (() => void) | null;
  resolve(): void;
  reject(error: Error): void;
}

export class Flusher {
  readonly #deps: FlusherDeps;
  #waiters: Waiter[] = [];
  #running = false;

  constructor(deps: FlusherDeps) {
    this.#deps = deps;
  }

  /**
   * Resolves when an fdatasync that started after this call has succeeded; rejects with `poisoned`. `before` is called right before that
   * fdatasync, when no other is under way, during which a write would have to wait; what it throws rejects this call alone.
   */
  flush(before: (() => void) | null = null): Promise<void> {
    const { poison } = this.#deps.health;
    if (poison !== null) return Promise.reject(poison);
    const answer = new Promise<void>((resolve, reject) => {
      this.#waiters.push({ before, resolve, reject });
    });
    if (!this.#running) this.#start();
    return answer;
  }

  #start(): void {
    this.#running = true;
    const settled = this.#deps.settle();
    if (settled === null) this.#flush();
    else void settled.then(() => this.#flush());
  }

  #flush(): void {
    const { file, health, flushes, prepare } = this.#deps;
    const waiters = this.#takeWaiters();
    let commit: () => void;
    let flushed: Promise<void>;
    try {
      if (health.poison !== null) throw health.poison;
      commit = prepare();
      flushed = file.dataSync();
    } catch (error) {
      this.#fail(waiters, error);
      return;
    }
    flushed.then(
      () => {
        // Something else poisoned the store meanwhile: what this fdatasync covered is not known to be whole.
        if (health.poison !== null) {
          this.#fail(waiters, health.poison);
          return;
        }
        flushes.add(1);
        commit();
        this.#running = false;
        if (this.#waiters.length > 0) this.#start();
        for (const waiter of waiters) waiter.resolve();
      },
      (error) => this.#fail(waiters, error),
    );
  }

  /** Those whose turn it is and who still want it. */
  #takeWaiters(): Waiter[] {
    const taken = this.#waiters;
    this.#waiters = [];
    return taken.filter((waiter) => {
      try {
        waiter.before?.();
        return true;
      } catch (error) {
        waiter.reject(error as Error);
        return false;
      }
    });
  }

  #fail(waiters: readonly Waiter[], cause: unknown): void {
    const error = this.#deps.health.poisonWith(cause);
    this.#running = false;
    const later = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
    for (const waiter of later) waiter.reject(error);
  }
}
