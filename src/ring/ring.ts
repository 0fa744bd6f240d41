// Ring: a pure function every member of the cluster knows, from a BlockRef to an ordered list of all its peers.
// The first `replicas` of them hold the block. A ring is immutable; a change makes the next version.

import type { BlockRef, PeerId } from "#model";

export const ringTypes = ["empty", "single", "mod", "ketama", "union", "rendezvous"] as const;
export type RingType = (typeof ringTypes)[number];

/** Failure domains, widest first: no two replicas share the widest one that can be avoided. */
export const failureDomains = ["zone", "rack", "host"] as const;

export interface RingMember {
  readonly peer: PeerId;
  /** Relative share; the peer's size in bytes by default. Above zero. */
  readonly weight: number;
  /** Failure-domain and other labels, such as {zone: "a", host: "n1"}. */
  readonly labels: Readonly<Record<string, string>>;
}

/** A ring as it is stored: JSON in the metadata service. */
export interface RingDescription {
  readonly version: number;
  readonly type: RingType;
  readonly replicas: number;
  readonly members: readonly RingMember[];
  /** Of a union only: the ring data moves from, and the one it moves to. */
  readonly parts?: { readonly old: RingDescription; readonly new: RingDescription };
}

export interface Ring {
  readonly type: RingType;
  readonly version: number;
  readonly replicas: number;
  /** Of a union: the new part's, then the old part's that are not in it. */
  readonly members: readonly RingMember[];
  /** Of a union only. New blocks go where the new part says; the old part is for reading. */
  readonly parts?: { readonly old: Ring; readonly new: Ring };
  /**
   * All peers in the order in which they should hold `ref`. Deterministic, the same on every machine. Of a union: first the new
   * part's order, then the old part's peers that are not in it.
   */
  permutation(ref: BlockRef): PeerId[];
  /** The peers that should hold `ref`: the first `replicas` of the order; of a union, of its new part's. Cheaper than all of them. */
  holders(ref: BlockRef): PeerId[];
  /** One line for people. */
  describe(): string;
  toDescription(): RingDescription;
}
