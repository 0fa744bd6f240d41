// The union ring: what a cluster has while data moves from an old ring to a new one. New blocks go where the new
// part says; readers look there first, then at the old part's other peers. The old part may be a union itself when
// rings change faster than data moves.

import type { BlockRef, PeerId } from "#model";
import { describeRing } from "./describe.ts";
import type { Ring, RingDescription, RingMember } from "./ring.ts";

export class UnionRing implements Ring {
  readonly type = "union";
  readonly version: number;
  readonly replicas: number;
  readonly members: readonly RingMember[];
  readonly parts: { readonly old: Ring; readonly new: Ring };
  readonly #description: RingDescription;

  constructor(description: RingDescription, parts: { readonly old: Ring; readonly new: Ring }) {
    this.version = description.version;
    this.replicas = description.replicas;
    this.members = description.members;
    this.parts = parts;
    this.#description = description;
  }

  permutation(ref: BlockRef): PeerId[] {
    const order = this.parts.new.permutation(ref);
    const inNew = new Set(order);
    for (const peer of this.parts.old.permutation(ref)) if (!inNew.has(peer)) order.push(peer);
    return order;
  }

  holders(ref: BlockRef): PeerId[] {
    return this.parts.new.holders(ref);
  }

  describe(): string {
    return describeRing(this);
  }

  toDescription(): RingDescription {
    return this.#description;
  }
}
