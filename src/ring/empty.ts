// The empty ring: no peers, so nothing can be stored. What a cluster has before its first peer joins.

import type { PeerId } from "#model";
import { describeRing } from "./describe.ts";
import type { Ring, RingDescription, RingMember } from "./ring.ts";

export class EmptyRing implements Ring {
  readonly type = "empty";
  readonly version: number;
  readonly replicas: number;
  readonly members: readonly RingMember[] = [];
  readonly #description: RingDescription;

  constructor(description: RingDescription) {
    this.version = description.version;
    this.replicas = description.replicas;
    this.#description = description;
  }

  permutation(): PeerId[] {
    return [];
  }

  holders(): PeerId[] {
    return [];
  }

  describe(): string {
    return describeRing(this);
  }

  toDescription(): RingDescription {
    return this.#description;
  }
}
