// SampledBlocks: the blocks of a large cluster, as a sample, and where the ring wants them: how many copies are missing, how many lie elsewhere. It is a
// bystander's view, kept up as blocks come and go, which no peer has.

import type { BlockRef, PeerId } from "#model";
import { blockRefKey, blockType } from "#model";
import type { Ring } from "#ring";
import type { ScaleSize } from "./size.ts";

export class SampledBlocks {
  readonly refs: readonly BlockRef[];
  /** What one stands for. */
  readonly bytesPerBlock: number;
  readonly #byVolume = new Map<number, BlockRef[]>();
  readonly #desired = new Map<string, readonly PeerId[]>();
  #ring: Ring;
  #missing = 0;

  constructor({ peers, replicas, volumes, sampledBlocks, diskBytes, usedShare }: ScaleSize, ring: Ring) {
    const count = Math.round((peers * sampledBlocks) / replicas);
    this.bytesPerBlock = Math.round((diskBytes * usedShare) / sampledBlocks);
    this.refs = Array.from({ length: count }, (_, i) => ({
      type: blockType.data,
      volume: 1 + (i % volumes),
      epoch: 1,
      index: 1 + Math.floor(i / volumes),
    }));
    for (const ref of this.refs) {
      const blocks = this.#byVolume.get(ref.volume);
      if (blocks === undefined) this.#byVolume.set(ref.volume, [ref]);
      else blocks.push(ref);
    }
    this.#ring = ring;
  }

  get ring(): Ring {
    return this.#ring;
  }

  /** Copies that the ring in force wants and that are not there. */
  get missing(): number {
    return this.#missing;
  }

  ofVolume(volume: number): readonly BlockRef[] {
    return this.#byVolume.get(volume) ?? [];
  }

  desired(ref: BlockRef): readonly PeerId[] {
    return this.#desired.get(blockRefKey(ref)) ?? [];
  }

  /** Another ring is in force. `has`: who has what. */
  useRing(ring: Ring, has: (peer: PeerId, ref: BlockRef) => boolean): void {
    this.#ring = ring;
    this.#missing = 0;
    for (const ref of this.refs) {
      const desired = ring.holders(ref);
      this.#desired.set(blockRefKey(ref), desired);
      for (const peer of desired) if (!has(peer, ref)) this.#missing += 1;
    }
  }

  came(peer: PeerId, ref: BlockRef): void {
    if (this.desired(ref).includes(peer)) this.#missing -= 1;
  }

  /** Blocks of which nobody has a copy. */
  lost(has: (ref: BlockRef) => boolean): number {
    return this.refs.filter((ref) => !has(ref)).length;
  }
}
