// TailRecoverer: sees to volumes whose writer is gone and left a log to replay [C20]: it has them attached, checkpointed and
// detached, so that no copy of a tail lies where an older ring says for ever. After a while, or at once when a ring waits for it.
//
// Every peer runs one; the first alive acts, and attaching is refused while another writer lives, so two that act do no harm. Only the first few look at
// all volumes; who they are, whoever looks at who lives says. Each try costs the volume an epoch, and every peer a write: one that fails is repeated less and
// less often, down to once in the time that a tail is left.

import type { ClusterSnapshot, VolumeState } from "#metadata";
import type { VolumeId } from "#model";
import { isTorusError, messageOf } from "#model";
import { AbsenceMachine } from "./absence-machine.ts";
import { pacedMs, watchersMax } from "./pace.ts";
import type { TailDeps, UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
import type { UpkeepTask } from "./upkeep-task.ts";

export interface TailRecovererDeps extends UpkeepDeps, TailDeps {
  /** This peer's place among those that serve, as last seen; infinity while that is not known. */
  readonly rank: () => number;
}

export class TailRecoverer implements UpkeepTask {
  readonly name = "tail recoverer";
  readonly #options: UpkeepOptions;
  readonly #deps: TailRecovererDeps;
  /** Of volumes, by id: how long nobody has had them. */
  readonly #absences = new AbsenceMachine();
  readonly #failures = new Map<VolumeId, Failure>();
  #everyMs: number;

  constructor(options: UpkeepOptions, deps: TailRecovererDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#everyMs = options.watchEveryMs;
  }

  get everyMs(): number {
    return this.#everyMs;
  }

  async pass(stopping: () => boolean): Promise<void> {
    const { metadata, clock, hasTail } = this.#deps;
    const { watchEveryMs } = this.#options;
    const rank = this.#deps.rank();
    if (rank >= watchersMax) {
      this.#everyMs = watchEveryMs;
      return;
    }
    const snapshot = await metadata.snapshot();
    const volumes = [...snapshot.volumes.values()];
    this.#absences.observe(
      clock.monotonicMs(),
      2 * this.#everyMs,
      volumes.map((state) => ({ peer: keyOf(state.spec.id), isAlive: state.lease !== null })),
    );
    this.#everyMs = pacedMs(watchEveryMs, { readers: watchersMax, bytes: snapshot.bytes });
    if (snapshot.upkeep.paused) return;
    const left = volumes.filter((state) => state.lease === null && hasTail(state));
    for (const id of this.#failures.keys())
      if (!left.some(({ spec }) => spec.id === id)) this.#failures.delete(id);
    const graceMs = this.#graceMs(snapshot);
    for (const state of left) {
      if (stopping()) return;
      const waitMs = graceMs + rank * 4 * watchEveryMs;
      const isDue = clock.monotonicMs() >= (this.#failures.get(state.spec.id)?.againMs ?? 0);
      if (isDue && this.#absences.absentMs(keyOf(state.spec.id)) >= waitMs)
        await this.#recover(state, graceMs);
    }
  }

  /** A drain must not wait for a writer that does not come back. */
  #graceMs(snapshot: ClusterSnapshot): number {
    const { repairAfterMs, watchEveryMs } = this.#options;
    const isMoving = snapshot.ring.parts !== undefined;
    return isMoving ? Math.min(2 * watchEveryMs, repairAfterMs) : repairAfterMs;
  }

  async #recover({ spec }: VolumeState, graceMs: number): Promise<void> {
    const { log, recoverTail } = this.#deps;
    try {
      await recoverTail(spec.name);
      log.info("The end of a log that its writer left was recovered.", { volume: spec.name });
    } catch (error) {
      // Somebody attached it meanwhile: that is as good.
      if (isTorusError(error, "busy", "not-found")) return;
      this.#failed(spec.id, graceMs);
      log.warn("The end of a log that its writer left cannot be recovered yet.", {
        volume: spec.name,
        reason: messageOf(error),
      });
    }
  }

  #failed(id: VolumeId, waitMsMax: number): void {
    const lastMs = this.#failures.get(id)?.waitMs ?? this.#options.watchEveryMs;
    const waitMs = Math.min(waitMsMax, 2 * lastMs);
    this.#failures.set(id, { waitMs, againMs: this.#deps.clock.monotonicMs() + waitMs });
  }
}

interface Failure {
  readonly waitMs: number;
  /** Not before. */
  readonly againMs: number;
}

function keyOf(id: VolumeId): string {
  return `${id}`;
}
