// What a peer is asked about its own blocks, and what it answers (docs/formats/metadata.md). Both are one record of its own: who does not know it reads
// all others as before.

import { flag, integer, nullable, object } from "./record-fields.ts";
import { record, recordFields } from "./records-codec.ts";

/** How far a peer is with what it was asked; its last word on it when `ended`. */
export interface ScrubAnswer {
  readonly beganMs: number;
  readonly updatedMs: number;
  /** From 0 to 1. */
  readonly done: number;
  /** Damaged blocks that were not known before. */
  readonly found: number;
  readonly repaired: number;
  /** Damaged at `updatedMs`, without a good copy within reach; also those known before. */
  readonly unrepairable: number;
  readonly ended: boolean;
}

/** A peer is asked to look at all its blocks now. */
export interface ScrubRequestRecord {
  /** Of the call that asked: what is answered once is not done again. */
  readonly token: string;
  readonly askedMs: number;
  /** null: it has not begun. */
  readonly answer: ScrubAnswer | null;
}

const { milliseconds, share, token } = recordFields;

export const scrubRequestCodec = record<ScrubRequestRecord>({
  token,
  askedMs: milliseconds,
  answer: nullable(
    object<ScrubAnswer>({
      beganMs: milliseconds,
      updatedMs: milliseconds,
      done: share,
      found: integer(0),
      repaired: integer(0),
      unrepairable: integer(0),
      ended: flag,
    }),
  ),
});
