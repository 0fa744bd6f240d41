// Confirmation: what a peer answers when another asks whether it may drop a block because this one has it. It is about
// deleting, so it says more than `stat`: the copy is sealed, durable and was read back and verified, and the peer itself holds
// the block by the very ring version the asker goes by [C8].

import type { BlockRef } from "./block-ref.ts";
import type { BlockStore } from "./block-store.ts";

/**
 * confirmed: held as above. later: it may be so, but there was no time to read it back yet; ask again.
 * lacking: not this peer's by that ring version, or not held, or the copy does not verify.
 */
export type Verdict = "confirmed" | "lacking" | "later";

export interface Confirmation {
  readonly verdict: Verdict;
  /** Of the confirmed copy; 0 otherwise. */
  readonly length: number;
  readonly checksum: number;
}

export interface ConfirmReport {
  /** The ring in force at the peer that answers; where it is not the asker's, nothing is confirmed. */
  readonly ringVersion: number;
  /** In the order of the refs asked about. */
  readonly blocks: readonly Confirmation[];
}

export interface Confirmer {
  confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport>;
}

/** Another peer, as upkeep uses it. */
export interface PeerStore extends BlockStore, Confirmer {}
