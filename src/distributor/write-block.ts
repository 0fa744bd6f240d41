// WriteBlock: a block on its way to its members, and what the write machine asks to be done with it.

import type { BlockRef, PeerId } from "#model";
import { pageBytes, recordFrameLayout } from "#model";

export interface WriteMember {
  readonly peer: PeerId;
  /** What is sent to it goes on from here. */
  sent: number;
  /** The most that was ever sent to it: what it may hold, also once it is asked anew after its connection broke. */
  sentMost: number;
  held: number;
  durable: number;
  sealing: boolean;
  sealed: boolean;
}

export interface WriteBlock {
  readonly ref: BlockRef;
  readonly base: number;
  readonly capacity: number;
  readonly buffer: Uint8Array;
  /** Closed records, in bytes: what may be sent. */
  length: number;
  ended: boolean;
  /** CRC-32 of the block, once ended. */
  checksum: number;
  /**
   * It has too few live members left, so its live pages are appended again in later blocks. Nothing from it on is answered before a
   * checkpoint past it is committed and it is released.
   */
  abandoned: boolean;
  /** Some member was struck from it. */
  struck: boolean;
  members: WriteMember[];
}

export type WriteCommand =
  | {
      readonly kind: "append";
      readonly peer: PeerId;
      readonly block: WriteBlock;
      readonly from: number;
      readonly to: number;
    }
  | { readonly kind: "sync"; readonly peer: PeerId; readonly blocks: readonly WriteBlock[] }
  | { readonly kind: "seal"; readonly peer: PeerId; readonly block: WriteBlock };

/** The end of the last whole record within `bytesMax` of `from`, or of the first record: a peer takes only whole ones. */
export function recordsEnd(block: WriteBlock, from: number, bytesMax: number): number {
  if (block.length - from <= bytesMax) return block.length;
  const { buffer } = block;
  let end = from;
  do {
    const at = end + recordFrameLayout.pages;
    const next = end + (1 + buffer[at] + 256 * buffer[at + 1]) * pageBytes;
    if (end > from && next - from > bytesMax) return end;
    end = next;
  } while (end < block.length);
  return end;
}

export function memberOf(block: WriteBlock, peer: PeerId): WriteMember | undefined {
  for (const member of block.members) if (member.peer === peer) return member;
  return undefined;
}
