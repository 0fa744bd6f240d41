// Fences that say what they were decided by [C7]. A store that has seen newer metadata refuses; then what was decided by is read again, after
// all the store had seen: either it is as new now, and the fence is repeated by it, or the metadata went back.

import type { VolumeState, VolumeWriters, WriterAttachment } from "#metadata";
import type { BlockStore, Epoch, FenceBasis, FenceReport, VolumeId } from "#model";
import { isTorusError, judgeView, metadataBehind, TorusError, viewSeenIn } from "#model";

/** What is fenced for: as in `BlockStore.fence`. */
export interface FenceOrder {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly logEpoch: Epoch;
  readonly fromIndex: number;
}

/** A store looks at the metadata every few seconds. */
const triesMax = 8;

/** What an attach rests on, read in its epoch, and how its fences say so. */
export async function decideAttach(
  writers: VolumeWriters,
  attachment: WriterAttachment,
): Promise<{ readonly state: VolumeState; readonly decision: FenceDecision }> {
  const { state, basis } = await writers.loadForFence(attachment);
  const { head, logmap } = state.revisions;
  const renew = async (): Promise<FenceBasis> => {
    const { state: now, basis: newer } = await writers.loadForFence(attachment);
    // Nobody else writes them while the epoch stands.
    if (now.revisions.head === head && now.revisions.logmap === logmap) return newer;
    throw metadataBehind(`the head of volume "${attachment.name}" is not what it was when it was attached`);
  };
  return { state, decision: new FenceDecision(basis, renew) };
}

export class FenceDecision {
  readonly #renew: () => Promise<FenceBasis>;
  #basis: FenceBasis;
  #renewing: Promise<FenceBasis> | null = null;

  /** `renew` reads what was decided by anew, and rejects when that is not the same any more. */
  constructor(basis: FenceBasis, renew: () => Promise<FenceBasis>) {
    this.#basis = basis;
    this.#renew = renew;
  }

  /**
   * As `BlockStore.fence`; `metadata-behind` only when the store is right, with details.decidedGeneration: of the metadata that is behind. Also rejects with
   * what reading anew rejects with, and `unavailable` when it does not become clear.
   */
  async fence(order: FenceOrder, store: BlockStore): Promise<FenceReport> {
    const { volume, epoch, logEpoch, fromIndex } = order;
    for (let tries = 0; tries < triesMax; tries++) {
      const basis = this.#basis;
      try {
        return await store.fence(volume, epoch, logEpoch, fromIndex, basis);
      } catch (error) {
        if (!isTorusError(error, "metadata-behind")) throw error;
        const seen = viewSeenIn(error);
        if (seen === null) throw decided(error, basis);
        // Another fence may have read it anew since.
        if (judgeView(seen, this.#basis.view) !== "") this.#basis = await this.#read();
        if (judgeView(seen, this.#basis.view) !== "") throw decided(error, this.#basis);
      }
    }
    const claim = `peer ${store.peer} always knows newer metadata than was read a moment ago`;
    throw new TorusError("unavailable", claim);
  }

  /** One read at a time, begun after it was asked for. */
  async #read(): Promise<FenceBasis> {
    await this.#renewing?.catch(() => {});
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }
}

function decided({ code, message, details }: TorusError, { view }: FenceBasis): TorusError {
  return new TorusError(code, message, { ...details, decidedGeneration: view.generation });
}
