// The mod ring: peers in a circle by id, and a block starts at (crc32 of its ref) mod (number of peers). Spreads
// blocks evenly whatever the weights, and moves nearly all of them when a peer comes or goes: for tests and for
// clusters that never change. With fewer peers than replicas it lists the peers there are.

import type { BlockRef, PeerId } from "#model";
import { blockRefBytes, crc32, encodeBlockRef } from "#model";
import { describeRing, sortedByPeer } from "./describe.ts";
import type { Ring, RingDescription, RingMember } from "./ring.ts";

export class ModRing implements Ring {
  readonly type = "mod";
  readonly version: number;
  readonly replicas: number;
  readonly members: readonly RingMember[];
  readonly #description: RingDescription;
  readonly #peers: readonly PeerId[];
  readonly #refBytes = new Uint8Array(blockRefBytes);
  readonly #refView = new DataView(this.#refBytes.buffer);

  constructor(description: RingDescription) {
    this.version = description.version;
    this.replicas = description.replicas;
    this.members = description.members;
    this.#description = description;
    this.#peers = sortedByPeer(description.members).map((member) => member.peer);
  }

  permutation(ref: BlockRef): PeerId[] {
    if (this.#peers.length === 0) return [];
    encodeBlockRef(ref, this.#refView, 0);
    const start = crc32(this.#refBytes) % this.#peers.length;
    return [...this.#peers.slice(start), ...this.#peers.slice(0, start)];
  }

  holders(ref: BlockRef): PeerId[] {
    return this.permutation(ref).slice(0, this.replicas);
  }

  describe(): string {
    return describeRing(this);
  }

  toDescription(): RingDescription {
    return this.#description;
  }
}
