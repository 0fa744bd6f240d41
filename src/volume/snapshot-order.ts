// Taking a snapshot from outside: asks the volume's writer, by a request in the metadata that it watches, and waits for the answer; with
// no live writer, attaches for as long as it takes. A writer that dies meanwhile, or comes, is noticed.
//
// The snapshot is known again by its token, so an outcome that is unknown is looked up; nothing is taken twice.

import type { Clock, Log, Random } from "#host";
import type { ClusterMetadata, SnapshotRecord, VolumeRequests, VolumeState } from "#metadata";
import { isAttached, requireName } from "#metadata";
import { isTorusError, messageOf, TorusError } from "#model";
import type { SnapshotWish } from "./snapshot-keeper.ts";
import { requireSnapshotRoom } from "./snapshot-keeper.ts";
import type { Volume } from "./volume.ts";

export interface SnapshotOrderOptions {
  readonly volume: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** How long the writer may take. */
  readonly timeoutMs: number;
}

export interface SnapshotOrderDeps {
  readonly metadata: ClusterMetadata;
  /** Attaches at once, or rejects with `busy`. */
  readonly attach: (volume: string) => Promise<Volume>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The volume is looked at this often also when no change is heard of. */
const lookEveryMs = 1000;

/**
 * A snapshot of `volume` as it is at some moment of this call. Rejects with `not-found`, `already-exists`, `limit`, `timeout` when the writer did not do
 * it in time (it will not do it later), with the writer's own refusal, or with what attaching met.
 */
export async function takeSnapshot(
  options: SnapshotOrderOptions,
  deps: SnapshotOrderDeps,
): Promise<SnapshotRecord> {
  requireName(options.name, "snapshot");
  return new SnapshotOrder(options, deps).run();
}

class SnapshotOrder {
  readonly #options: SnapshotOrderOptions;
  readonly #deps: SnapshotOrderDeps;
  readonly #wish: SnapshotWish;
  readonly #deadlineMs: number;

  constructor(options: SnapshotOrderOptions, deps: SnapshotOrderDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#wish = { name: options.name, labels: options.labels, token: deps.random.uuid() };
    this.#deadlineMs = deps.clock.monotonicMs() + options.timeoutMs;
  }

  async run(): Promise<SnapshotRecord> {
    const { volume, name } = this.#options;
    for (;;) {
      const state = await this.#deps.metadata.volumes.find(volume);
      const own = this.#own(state);
      if (own !== null) return own;
      requireSnapshotRoom(volume, state.snapshots, name);
      const taken = isAttached(state) ? await this.#ask(state) : await this.#attach();
      if (taken !== null) return taken;
      if (this.#leftMs <= 0) throw this.#late(state);
    }
  }

  get #leftMs(): number {
    return this.#deadlineMs - this.#deps.clock.monotonicMs();
  }

  #own(state: VolumeState): SnapshotRecord | null {
    return state.snapshots.find(({ token }) => token === this.#wish.token) ?? null;
  }

  /** Null when a writer came first. */
  async #attach(): Promise<SnapshotRecord | null> {
    const { attach, log } = this.#deps;
    let volume: Volume;
    try {
      volume = await attach(this.#options.volume);
    } catch (error) {
      if (isTorusError(error, "busy")) return null;
      throw error;
    }
    try {
      return await volume.orders.takeSnapshot(this.#wish);
    } finally {
      await volume.close().catch((error: unknown) => {
        log.warn("The volume was not let go of cleanly.", { reason: messageOf(error) });
      });
    }
  }

  /** Null when the writer is gone. */
  async #ask({ spec }: VolumeState): Promise<SnapshotRecord | null> {
    const { metadata, clock } = this.#deps;
    const { name, labels, token } = this.#wish;
    const createdMs = clock.wallMs();
    const byMs = createdMs + Math.max(0, this.#leftMs);
    const request = { kind: "snapshot", name, labels, createdMs, byMs, refusal: null } as const;
    try {
      let isAsked = await metadata.snapshots.ask(spec.id, token, request);
      while (isAsked) {
        const look = await metadata.snapshots.requests(spec.id);
        const own = this.#own(look.volume);
        if (own !== null) return own;
        isAsked = this.#isOpen(look);
        if (isAsked) await this.#change(look);
      }
    } finally {
      // What is withdrawn is not done afterwards, and what was done before is seen below. One that cannot be withdrawn ends by itself.
      await metadata.snapshots.withdraw(spec.id, token).catch(() => {});
    }
    return this.#own(await metadata.volumes.load(spec.id));
  }

  /** Whether the answer is still to come. Throws the refusal. */
  #isOpen({ volume, requests }: VolumeRequests): boolean {
    const pending = requests.find(({ token }) => token === this.#wish.token);
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
      const watch = metadata.snapshots.watch(volume.spec.id, revision, { events: end, reset: end });
    });
  }

  #late(state: VolumeState): TorusError {
    const { volume, name, timeoutMs } = this.#options;
    const reason = state.status?.condition ?? "";
    const who = state.lease === null ? "nobody" : state.lease.holder;
    return new TorusError(
      "timeout",
      `the writer of volume "${volume}" (${who}) did not take snapshot "${name}" within ${Math.round(timeoutMs / 1000)} s${reason === "" ? "" : `: ${reason}`}`,
    );
  }
}
