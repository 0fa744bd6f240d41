// UpkeepTask: one thing a peer does by itself, in passes. TaskLoop runs the passes of one task, one at a time, for as long as
// the peer runs: a pass that fails is told and tried again later, for nothing may stop for good because something
// else was away for a while.

import type { Clock, Log, Random, Timer } from "#host";
import { messageOf } from "#model";

export interface UpkeepTask {
  /** For the log: a noun, such as "collector". */
  readonly name: string;
  /** From the end of a pass to the next; asked when a pass has ended. */
  readonly everyMs: number;
  /** What a pass reads is dear: one that failed is not tried again before, and not all peers that are woken begin in the same moment. None: 0. */
  readonly restMs?: number;
  /** One pass. It looks at `stopping` between steps and returns early when that says so. */
  pass(stopping: () => boolean): Promise<void>;
}

export interface TaskLoopDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
}

const retryMsMax = 60_000;
/** Less than this is no crowd. */
const spreadMsMin = 1000;

export class TaskLoop {
  readonly #task: UpkeepTask;
  readonly #deps: TaskLoopDeps;
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #again = false;
  #dueMs = 0;
  #closed = false;

  constructor(task: UpkeepTask, deps: TaskLoopDeps) {
    this.#task = task;
    this.#deps = deps;
  }

  /** The first pass begins after `delayMs`. */
  start(delayMs: number): void {
    this.#wait(delayMs);
  }

  /** A pass begins now, or as soon as the one that runs has ended; of a task that must rest, some time within what it must. */
  wake(): void {
    if (this.#closed) return;
    if (this.#running !== null) {
      this.#again = true;
      return;
    }
    const spreadMs = this.#spreadMs();
    if (spreadMs > 0 && this.#dueMs <= this.#deps.clock.monotonicMs() + spreadMs) return;
    this.#timer?.cancel();
    if (spreadMs > 0) this.#wait(spreadMs);
    else this.#begin();
  }

  #spreadMs(): number {
    const { restMs = 0 } = this.#task;
    return restMs < spreadMsMin ? 0 : (restMs * this.#deps.random.uint32()) / 2 ** 32;
  }

  /** No pass begins from now on; resolves when the one that runs has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #wait(delayMs: number): void {
    if (this.#closed) return;
    this.#dueMs = this.#deps.clock.monotonicMs() + delayMs;
    this.#timer = this.#deps.clock.setTimer(delayMs, () => this.#begin());
  }

  #begin(): void {
    if (this.#closed) return;
    this.#again = false;
    this.#running = this.#pass();
  }

  async #pass(): Promise<void> {
    const { name } = this.#task;
    let nextMs: number;
    try {
      await this.#task.pass(() => this.#closed);
      nextMs = this.#task.everyMs;
    } catch (error) {
      nextMs = Math.max(Math.min(this.#task.everyMs, retryMsMax), this.#task.restMs ?? 0);
      if (!this.#closed)
        this.#deps.log.warn(`The ${name} could not finish; it tries again.`, {
          reason: messageOf(error),
          nextMs,
        });
    }
    this.#running = null;
    this.#wait(this.#again ? this.#spreadMs() : nextMs);
  }
}
