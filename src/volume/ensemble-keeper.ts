// EnsembleKeeper: keeps the rows and strikes of the log in step with the peers that live and the ring in force. It asks the
// placement machine for a plan, commits it through the metadata service, and only then lets it take effect; no block opens meanwhile.

import type { Replicator } from "#distributor";
import type { Clock, Log, Timer } from "#host";
import { sleep } from "#host";
import type { LogMapRecord } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { isTorusError, messageOf, TorusError } from "#model";
import type { Ring } from "#ring";
import type { PlacementInput, PlacementMachine } from "./placement-machine.ts";

export interface EnsembleKeeperDeps {
  readonly placement: PlacementMachine;
  readonly replicator: Replicator;
  readonly minReplicas: number;
  /** How often peers a row leaves out are asked whether they are back. */
  readonly returnEveryMs: number;
  /** The newest ring, and any kept version. */
  readonly ring: () => Ring;
  readonly ringOf: (version: number) => Ring;
  /** Makes a logmap the volume's, before anything is appended under it. Rejects with `fenced` when another writer came. */
  readonly commitLogmap: (logmap: LogMapRecord) => Promise<void>;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly nextIndex: () => number;
  /** Ends the open block, if any, so that the next index is fixed. */
  readonly endOpenBlock: () => void;
  /** The attachment is over: whether, and that. */
  readonly isLost: () => boolean;
  readonly lose: (error: TorusError) => void;
  /** What writes wait for, "" when for nothing. */
  readonly onCondition: (condition: string) => void;
  readonly onStruck: () => void;
  /** The unsealed blocks cannot be finished with enough copies: their live pages must be appended again. */
  readonly onMove: () => void;
  /** Blocks may open again, or positions moved. */
  readonly onSettled: () => void;
}

const commitRetryMs = 200;

export class EnsembleKeeper {
  readonly #deps: EnsembleKeeperDeps;
  readonly #returned = new Set<PeerId>();
  #changing = false;
  #stalled = false;
  #timer: Timer | null = null;
  #closed = false;

  constructor(deps: EnsembleKeeperDeps) {
    this.#deps = deps;
    this.#watchReturns();
  }

  /** The next block may open under the last row. Where a change is due, it is begun. */
  mayOpen(): boolean {
    if (this.#changing || this.#stalled) return false;
    if (!this.#isChangeDue()) return true;
    this.reconfigure();
    return false;
  }

  membersOf(index: number): PeerId[] {
    return this.#deps.placement.ensembleOf(index, this.#deps.ringOf);
  }

  /** Positions moved: a stall may be over by itself, because who was away is back. */
  recheck(): void {
    if (!this.#stalled || this.#isChangeDue()) return;
    this.#stalled = false;
    this.#deps.onCondition("");
  }

  /** A head that replays from `replayFrom` is committed: what came before needs no rows. */
  forgetBefore(replayFrom: number): void {
    if (!this.#changing) this.#deps.placement.forgetBefore(replayFrom);
  }

  /** Looks whether members, rows or the ring call for a change of the logmap, and makes it. */
  reconfigure(): void {
    if (this.#changing || this.#closed || this.#deps.isLost()) return;
    this.#changing = true;
    this.#change()
      .catch((error: unknown) => {
        this.#deps.lose(
          new TorusError("attachment-lost", `could not change the ensemble: ${messageOf(error)}`),
        );
      })
      .finally(() => {
        this.#changing = false;
        if (!this.#deps.isLost()) this.#deps.onSettled();
      });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** The next block cannot be as the last: a new row or a strike is due. */
  #isChangeDue(): boolean {
    const { ring, placement, replicator } = this.#deps;
    const inForce = ring();
    const row = placement.lastRow;
    if (inForce.version !== row.ringVersion || inForce.replicas !== row.replicas) return true;
    if (row.without.some((peer) => this.#returned.has(peer))) return true;
    return replicator.lostPeers.some((peer) => replicator.isOverdue(peer));
  }

  async #change(): Promise<void> {
    const { placement, replicator, log, isLost } = this.#deps;
    while (!isLost() && !this.#closed) {
      if (this.#isChangeDue()) this.#deps.endOpenBlock();
      const plan = placement.plan(this.#input());
      this.#stalled = plan.kind === "stall";
      this.#deps.onCondition(plan.kind === "stall" ? plan.reason : "");
      if (plan.kind !== "change") return;
      await this.#commit(plan.logmap);
      if (isLost() || this.#closed) return;
      placement.adopt(plan.logmap);
      for (const { peer, fromIndex, toIndex } of plan.struck) {
        log.warn("a peer was struck from blocks it did not finish", { peer, fromIndex, toIndex });
        replicator.machine.strike(peer, fromIndex, toIndex);
      }
      if (plan.move) this.#deps.onMove();
      for (const peer of placement.lastRow.without) {
        this.#returned.delete(peer);
        replicator.release(peer);
      }
      this.#deps.onSettled();
      if (plan.struck.length > 0) this.#deps.onStruck();
    }
  }

  #input(): PlacementInput {
    const { ring, ringOf, replicator, minReplicas, nextIndex } = this.#deps;
    return {
      ring: ring(),
      ringOf,
      unsealed: replicator.machine.blocks
        .filter((block) => !block.abandoned)
        .map((block) => ({
          index: block.ref.index,
          members: block.members.map((member) => member.peer),
          unsealedBy: block.members.filter((member) => !member.sealed).map((member) => member.peer),
        })),
      nextIndex: nextIndex(),
      overdue: replicator.lostPeers.filter((peer) => replicator.isOverdue(peer)),
      returned: [...this.#returned],
      minReplicas,
    };
  }

  async #commit(logmap: LogMapRecord): Promise<void> {
    const { commitLogmap, isLost, lose, onCondition, clock } = this.#deps;
    while (!isLost() && !this.#closed) {
      try {
        await commitLogmap(logmap);
        return;
      } catch (error) {
        if (!isTorusError(error, "unavailable", "timeout")) {
          lose(new TorusError("attachment-lost", messageOf(error), {}, { cause: error }));
          return;
        }
        onCondition("the metadata service does not answer, and the ensemble must change; waiting for it");
        await sleep(clock, commitRetryMs);
      }
    }
  }

  /** Asks peers that the last row leaves out whether they are back, now and then. */
  #watchReturns(): void {
    this.#timer = this.#deps.clock.setTimer(this.#deps.returnEveryMs, () => {
      if (this.#closed) return;
      void this.#probeReturns().finally(() => {
        if (!this.#closed) this.#watchReturns();
      });
    });
  }

  async #probeReturns(): Promise<void> {
    const { placement, storeOf, log } = this.#deps;
    for (const peer of placement.lastRow.without) {
      try {
        await storeOf(peer).sync([]);
        this.#returned.add(peer);
      } catch (error) {
        log.debug("a peer that was left out is still away", { peer, reason: messageOf(error) });
      }
    }
    if (this.#stalled || this.#isChangeDue()) {
      this.#stalled = false;
      this.reconfigure();
    }
  }
}
