// ThreadPauses: for how long this thread did nothing of what it is there for, because of garbage collection or of whatever else
// kept it from its event loop. libuv looks at the clock every 20 ms, so a pause is known to within 10. What the start takes is not counted. It costs
// a third of a percent of a core, so it is for daemons whose metrics are served.

import { monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks";
import type { Clock, Counter, Metrics, Timer } from "#host";

/** How long a daemon may take to start. */
export const startMsMax = 5000;

const resolutionMs = 20;
/** The longest of so long is what counts. */
const lookEveryMs = 1000;
/** What clients may notice, and what must not be. */
const shortMs = 25;
const longMs = 50;

export class ThreadPauses {
  readonly #afterMs: number;
  readonly #clock: Clock;
  readonly #short: Counter;
  readonly #long: Counter;
  readonly #collected: Counter;
  readonly #collections: Counter;
  readonly #delays = monitorEventLoopDelay({ resolution: resolutionMs });
  readonly #observer: PerformanceObserver;
  #timer: Timer | null = null;
  #longestMs = 0;
  #longestCollectionMs = 0;

  /** Counts from `afterMs` after `start` on. */
  constructor(
    options: { readonly afterMs: number },
    { clock, metrics }: { readonly clock: Clock; readonly metrics: Metrics },
  ) {
    this.#afterMs = options.afterMs;
    this.#clock = clock;
    const counter = (what: string, help: string): Counter =>
      metrics.counter(`torus_thread_${what}_total`, help);
    this.#short = counter(
      "pauses_over_25ms",
      "Seconds in which the event loop stood still for over 25 ms at once",
    );
    this.#long = counter(
      "pauses_over_50ms",
      "Seconds in which the event loop stood still for over 50 ms at once",
    );
    this.#collections = counter("collections", "Times garbage was collected");
    this.#collected = counter("collection_seconds", "How long the thread waited for garbage collection");
    metrics.gauge(
      "torus_thread_longest_pause_seconds",
      "Longest time that the event loop stood still since the process was started",
      () => this.#longestMs / 1000,
    );
    metrics.gauge(
      "torus_thread_longest_collection_seconds",
      "Longest time that the thread waited for garbage collection since the process was started",
      () => this.#longestCollectionMs / 1000,
    );
    this.#observer = new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) this.#onCollection(duration);
    });
  }

  start(): void {
    this.#timer = this.#clock.setTimer(this.#afterMs, () => {
      this.#observer.observe({ entryTypes: ["gc"] });
      this.#delays.enable();
      this.#lookAgain();
    });
  }

  close(): void {
    this.#observer.disconnect();
    this.#delays.disable();
    this.#timer?.cancel();
  }

  #lookAgain(): void {
    this.#timer = this.#clock.setTimer(lookEveryMs, () => {
      // A delay is from one look at the clock to the next.
      this.#onPause(this.#delays.max / 1e6 - resolutionMs / 2);
      this.#delays.reset();
      this.#lookAgain();
    });
  }

  #onPause(pausedMs: number): void {
    if (pausedMs > shortMs) this.#short.add(1);
    if (pausedMs > longMs) this.#long.add(1);
    this.#longestMs = Math.max(this.#longestMs, pausedMs);
  }

  #onCollection(tookMs: number): void {
    this.#collections.add(1);
    this.#collected.add(tookMs / 1000);
    this.#longestCollectionMs = Math.max(this.#longestCollectionMs, tookMs);
  }
}
