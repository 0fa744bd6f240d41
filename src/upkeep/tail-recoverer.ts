// TailRecoverer: sees to volumes whose writer is gone and left a log to replay [C20]: it has them attached, checkpointed and
// detached, so that no copy of a tail lies where an older ring says for ever. After a while, or at once when a ring waits for it.
//
// Every peer runs one; the first alive acts, and attaching is refused while another writer lives, so two that act do no harm.

import type { ClusterSnapshot, VolumeState } from "#metadata";
import type { VolumeId } from "#model";
import { isTorusError, messageOf } from "#model";
import { AbsenceMachine } from "./absence-machine.ts";
import { isServing } from "./repair-machine.ts";
import type { TailDeps, UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
import type { UpkeepTask } from "./upkeep-task.ts";

export class TailRecoverer implements UpkeepTask {
  readonly name = "tail recoverer";
  readonly #options: UpkeepOptions;
  readonly #deps: UpkeepDeps & TailDeps;
  /** Of volumes, by id: how long nobody has had them. */
  readonly #absences: AbsenceMachine;

  constructor(options: UpkeepOptions, deps: UpkeepDeps & TailDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#absences = new AbsenceMachine({ gapMsMax: 2 * options.watchEveryMs });
  }

  get everyMs(): number {
    return this.#options.watchEveryMs;
  }

  async pass(stopping: () => boolean): Promise<void> {
    const { metadata, clock, hasTail } = this.#deps;
    const snapshot = await metadata.snapshot();
    const volumes = [...snapshot.volumes.values()];
    this.#absences.observe(
      clock.monotonicMs(),
      volumes.map((state) => ({ peer: keyOf(state.spec.id), isAlive: state.lease !== null })),
    );
    if (snapshot.upkeep.paused) return;
    const left = volumes.filter((state) => state.lease === null && hasTail(state));
    if (left.length === 0) return;
    const rank = await this.#rank();
    if (rank === -1) return;
    for (const state of left) {
      if (stopping()) return;
      const waitMs = this.#graceMs(snapshot) + rank * 4 * this.#options.watchEveryMs;
      if (this.#absences.absentMs(keyOf(state.spec.id)) >= waitMs) await this.#recover(state);
    }
  }

  /** A drain must not wait for a writer that does not come back. */
  #graceMs(snapshot: ClusterSnapshot): number {
    const { repairAfterMs, watchEveryMs } = this.#options;
    const isMoving = snapshot.rings.get(snapshot.ringVersion)?.parts !== undefined;
    return isMoving ? Math.min(2 * watchEveryMs, repairAfterMs) : repairAfterMs;
  }

  async #recover({ spec }: VolumeState): Promise<void> {
    const { log, recoverTail } = this.#deps;
    try {
      await recoverTail(spec.name);
      log.info("The end of a log that its writer left was recovered.", { volume: spec.name });
    } catch (error) {
      // Somebody attached it meanwhile: that is as good.
      if (isTorusError(error, "busy", "not-found")) return;
      log.warn("The end of a log that its writer left cannot be recovered yet.", {
        volume: spec.name,
        reason: messageOf(error),
      });
    }
  }

  /** This peer's place among those alive, -1 when it is not. */
  async #rank(): Promise<number> {
    const { peers } = await this.#deps.metadata.peers.list();
    const alive = peers.filter(isServing).map(({ peer }) => peer);
    return alive.sort().indexOf(this.#deps.store.peer);
  }
}

function keyOf(id: VolumeId): string {
  return `${id}`;
}
