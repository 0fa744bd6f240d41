// Throttle: has the requests of a volume wait for its limits (qos-machine.ts), in the order they came. They are never refused for it; when
// the attachment is over all go on, to be told so.

import type { Clock, Counter, Metrics, Timer } from "#host";
import type { QosLimits } from "#metadata";
import { QosMachine } from "./qos-machine.ts";

interface Waiting {
  readonly bytes: number;
  readonly sinceMs: number;
  readonly go: () => void;
}

export class Throttle {
  readonly #clock: Clock;
  readonly #throttled: Counter;
  readonly #seconds: Counter;
  #limits: QosLimits;
  #machine: QosMachine;
  #waiting: Waiting[] = [];
  #timer: Timer | null = null;
  #ended = false;

  constructor(limits: QosLimits, { clock, metrics }: { readonly clock: Clock; readonly metrics: Metrics }) {
    this.#clock = clock;
    this.#limits = limits;
    this.#machine = new QosMachine(limits, clock.monotonicMs());
    this.#throttled = metrics.counter(
      "torus_volume_throttled_total",
      "Requests that waited for the limits of their volume",
    );
    this.#seconds = metrics.counter(
      "torus_volume_throttled_seconds_total",
      "How long they waited, summed up",
    );
  }

  /** Those who wait go by the new limits. */
  set(limits: QosLimits): void {
    const { iops, bytesPerSecond, burstMs } = this.#limits;
    const isSame =
      iops === limits.iops && bytesPerSecond === limits.bytesPerSecond && burstMs === limits.burstMs;
    if (isSame || this.#ended) return;
    this.#limits = limits;
    this.#machine = new QosMachine(limits, this.#clock.monotonicMs());
    this.#drain();
  }

  /** Null when a request of so many bytes may go now; else resolves when it may. */
  enter(bytes: number): Promise<void> | null {
    if (this.#waiting.length === 0) {
      if (this.#machine.isUnlimited || this.#ended) return null;
      const waitMs = this.#machine.take(bytes, this.#clock.monotonicMs());
      if (waitMs === 0) return null;
      this.#wake(waitMs);
    }
    return new Promise((go) => {
      this.#waiting.push({ bytes, sinceMs: this.#clock.monotonicMs(), go });
    });
  }

  /** Nobody waits any more. */
  end(): void {
    this.#ended = true;
    this.#drain();
  }

  #drain(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const nowMs = this.#clock.monotonicMs();
    let gone = 0;
    for (const { bytes, sinceMs, go } of this.#waiting) {
      const waitMs = this.#ended ? 0 : this.#machine.take(bytes, nowMs);
      if (waitMs > 0) {
        this.#wake(waitMs);
        break;
      }
      gone += 1;
      this.#throttled.add(1);
      this.#seconds.add((nowMs - sinceMs) / 1000);
      go();
    }
    this.#waiting = this.#waiting.slice(gone);
  }

  #wake(waitMs: number): void {
    this.#timer = this.#clock.setTimer(Math.ceil(waitMs), () => this.#drain());
  }
}
