// RequestWatcher: sees what is asked of a volume's writer in the metadata, has it done, one after another, and answers. What
// cannot be done is refused in the request itself; a request that nobody waits for any more is taken away.

import type { Clock, Log, Timer } from "#host";
import type { PendingRequest, RequestRegistry, VolumeOrder, VolumeState, Watch } from "#metadata";
import type { ErrorCode, VolumeId } from "#model";
import { formatBytes, isTorusError, messageOf, TorusError, unreachable } from "#model";

export interface RequestWatcherDeps {
  readonly registry: RequestRegistry;
  /** Does it, and takes the request away in the same transaction. */
  readonly fulfil: (pending: PendingRequest) => Promise<unknown>;
  /** The volume, whenever its spec or what it keeps may have changed. */
  readonly onState: (volume: VolumeState) => void;
  readonly clock: Clock;
  readonly log: Log;
}

const retryMs = 1000;
/** No answer: it is tried again, by this writer or the next. */
const mayPass: readonly ErrorCode[] = ["unavailable", "timeout", "attachment-lost", "closed"];
/** How long an answer is kept for who asked. */
const forgetAfterMs = 60_000;

export class RequestWatcher {
  readonly #volume: VolumeId;
  readonly #deps: RequestWatcherDeps;
  #watch: Watch | null = null;
  #timer: Timer | null = null;
  #wake: () => void = () => {};
  #closed = false;

  constructor(volume: VolumeId, deps: RequestWatcherDeps) {
    this.#volume = volume;
    this.#deps = deps;
  }

  open(): void {
    void this.#run();
  }

  /** What is being done goes on; nothing new is begun. */
  close(): void {
    this.#closed = true;
    this.#stopWaiting();
    this.#wake();
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      try {
        const { revision, volume, requests } = await this.#deps.registry.requests(this.#volume);
        this.#deps.onState(volume);
        let lookAgainMs = Number.POSITIVE_INFINITY;
        for (const pending of requests) {
          if (this.#closed) return;
          lookAgainMs = Math.min(lookAgainMs, await this.#handle(pending));
        }
        await this.#change(revision, lookAgainMs);
      } catch (error) {
        if (!isTorusError(error)) throw error;
        this.#deps.log.debug("requests to the volume's writer could not be read", {
          reason: messageOf(error),
        });
        await this.#change(null, retryMs);
      }
    }
  }

  /** Returns after how long it must be looked at again, at the latest. */
  async #handle(pending: PendingRequest): Promise<number> {
    const { registry, fulfil, clock, log } = this.#deps;
    const { order, byMs, refusal } = pending.request;
    const overdueMs = clock.wallMs() - byMs;
    if (overdueMs > forgetAfterMs) {
      await registry.withdraw(this.#volume, pending.token);
      return Number.POSITIVE_INFINITY;
    }
    if (refusal !== null) return forgetAfterMs - overdueMs + 1;
    try {
      if (overdueMs > 0) throw expired(order, overdueMs);
      await fulfil(pending);
    } catch (error) {
      if (!isTorusError(error) || mayPass.includes(error.code)) throw error;
      log.info("a request to the volume's writer was refused", { order, reason: error.message });
      await registry.refuse(this.#volume, pending, error);
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Resolves at the next change of the requests after `revision`, or when `withinMs` is over. */
  #change(revision: number | null, withinMs: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#stopWaiting();
        resolve();
      };
      if (Number.isFinite(withinMs)) this.#timer = this.#deps.clock.setTimer(withinMs, () => this.#wake());
      if (revision === null) return;
      this.#watch = this.#deps.registry.watchRequests(this.#volume, revision, {
        events: () => this.#wake(),
        reset: () => this.#wake(),
      });
    });
  }

  #stopWaiting(): void {
    this.#watch?.close();
    this.#watch = null;
    this.#timer?.cancel();
    this.#timer = null;
  }
}

/** What is asked for, in words. */
export function describeOrder(order: VolumeOrder): string {
  switch (order.kind) {
    case "snapshot":
      return `snapshot "${order.name}"`;
    case "resize":
      return `a size of ${formatBytes(order.sizeBytes)}`;
    default:
      return unreachable(order);
  }
}

function expired(order: VolumeOrder, overdueMs: number): TorusError {
  return new TorusError(
    "conflict",
    `the request for ${describeOrder(order)} ended ${Math.ceil(overdueMs / 1000)} s ago by the clock of the volume's writer: ask again, and compare the machines' clocks`,
  );
}
