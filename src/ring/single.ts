// The single ring: one peer holds every block, whatever the number of replicas asked for.

import type { PeerId } from "#model";
import { describeRing } from "./describe.ts";
import type { Ring, RingDescription, RingMember } from "./ring.ts";

export class SingleRing implements Ring {
  readonly type = "single";
  readonly version: number;
  readonly replicas: number;
  readonly members: readonly RingMember[];
  readonly #description: RingDescription;

  constructor(description: RingDescription) {
    this.version = description.version;
    this.replicas = description.replicas;
    this.members = description.members;
    this.#description = description;
  }

  permutation(): PeerId[] {
    return [this.members[0].peer];
  }

  holders(): PeerId[] {
    return this.permutation();
  }

  describe(): string {
    return describeRing(this);
  }

  toDescription(): RingDescription {
    return this.#description;
  }
}
