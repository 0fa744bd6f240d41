// Having something done that only a volume's writer can do, from outside: asks the writer, by a request in the metadata that it watches,
// and waits for the answer; with no live writer, attaches for as long as it takes. A writer that dies meanwhile, or comes, is noticed.
//
// What was done is known again in the volume's state, so an outcome that is unknown is looked up.

import type { Clock, Log, Random } from "#host";
import type { ClusterMetadata, VolumeOrder, VolumeRequests, VolumeState } from "#metadata";
import { isAttached } from "#metadata";
import { isTorusError, messageOf, TorusError } from "#model";
import { describeOrder } from "./request-watcher.ts";
import type { Volume } from "./volume.ts";

export interface WriterOrderOptions {
  readonly volume: string;
  readonly order: VolumeOrder;
  /** Random, of this call: the name of its request. */
  readonly token: string;
  /** How long the writer may take. */
  readonly timeoutMs: number;
}

export interface WriterOrderDeps {
  readonly metadata: ClusterMetadata;
  /** Attaches at once, or rejects with `busy`. */
  readonly attach: (volume: string) => Promise<Volume>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** How an order is done, and how it is known that it was. */
export interface OrderedWork<Result> {
  /** Null while it was not done. Throws where it never can be. */
  resultIn(state: VolumeState): Result | null;
  /** By whoever has the volume attached. */
  perform(volume: Volume): Promise<Result>;
}

/** The volume is looked at this often also when no change is heard of. */
const lookEveryMs = 1000;

export class WriterOrder<Result> {
  readonly #options: WriterOrderOptions;
  readonly #work: OrderedWork<Result>;
  readonly #deps: WriterOrderDeps;
  readonly #deadlineMs: number;

  constructor(options: WriterOrderOptions, work: OrderedWork<Result>, deps: WriterOrderDeps) {
    this.#options = options;
    this.#work = work;
    this.#deps = deps;
    this.#deadlineMs = deps.clock.monotonicMs() + options.timeoutMs;
  }

  /**
   * Rejects with `not-found`, `timeout` when the writer did not do it in time (it will not do it later), with the writer's own refusal, or with what
   * attaching met.
   */
  async run(): Promise<Result> {
    for (;;) {
      const state = await this.#deps.metadata.volumes.find(this.#options.volume);
      const before = this.#work.resultIn(state);
      if (before !== null) return before;
      const done = isAttached(state) ? await this.#ask(state) : await this.#attach();
      if (done !== null) return done;
      if (this.#leftMs <= 0) throw this.#late(state);
    }
  }

  get #leftMs(): number {
    return this.#deadlineMs - this.#deps.clock.monotonicMs();
  }

  /** Null when a writer came first. */
  async #attach(): Promise<Result | null> {
    const { attach, log } = this.#deps;
    let volume: Volume;
    try {
      volume = await attach(this.#options.volume);
    } catch (error) {
      if (isTorusError(error, "busy")) return null;
      throw error;
    }
    try {
      return await this.#work.perform(volume);
    } finally {
      await volume.close().catch((error: unknown) => {
        log.warn("The volume was not let go of cleanly.", { reason: messageOf(error) });
      });
    }
  }

  /** Null when the writer is gone. */
  async #ask({ spec }: VolumeState): Promise<Result | null> {
    const { metadata, clock } = this.#deps;
    const { order, token } = this.#options;
    const createdMs = clock.wallMs();
    const byMs = createdMs + Math.max(0, this.#leftMs);
    try {
      let isAsked = await metadata.requests.ask(spec.id, token, { order, createdMs, byMs, refusal: null });
      while (isAsked) {
        const look = await metadata.requests.requests(spec.id);
        const done = this.#work.resultIn(look.volume);
        if (done !== null) return done;
        isAsked = this.#isOpen(look);
        if (isAsked) await this.#change(look);
      }
    } finally {
      // What is withdrawn is not done afterwards, and what was done before is seen below. One that cannot be withdrawn ends by itself.
      await metadata.requests.withdraw(spec.id, token).catch(() => {});
    }
    return this.#work.resultIn(await metadata.volumes.load(spec.id));
  }

  /** Whether the answer is still to come. Throws the refusal. */
  #isOpen({ volume, requests }: VolumeRequests): boolean {
    const pending = requests.find(({ token }) => token === this.#options.token);
    const refusal = pending?.request.refusal ?? null;
    if (refusal !== null) throw new TorusError(refusal.code, refusal.message);
    return pending !== undefined && isAttached(volume) && this.#leftMs > 0;
  }

  /** Resolves when the volume may have changed, or time is up. */
  #change({ volume, revision }: VolumeRequests): Promise<void> {
    const { metadata, clock } = this.#deps;
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        watch.close();
        resolve();
      };
      const timer = clock.setTimer(Math.max(0, Math.min(lookEveryMs, this.#leftMs)), end);
      const watch = metadata.requests.watch(volume.spec.id, revision, { events: end, reset: end });
    });
  }

  #late(state: VolumeState): TorusError {
    const { volume, order, timeoutMs } = this.#options;
    const reason = state.status?.condition ?? "";
    const who = state.lease === null ? "nobody" : state.lease.holder;
    return new TorusError(
      "timeout",
      `the writer of volume "${volume}" (${who}) did not do it within ${Math.round(timeoutMs / 1000)} s: ${describeOrder(order)}${reason === "" ? "" : `; ${reason}`}`,
    );
  }
}
