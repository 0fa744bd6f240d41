// The ensemble of a data block: which peers hold it. The writer that appends and the recoverer that replays must
// come to the same answer, else a recoverer takes a bystander's "I have nothing" for the end of the log
// (docs/counterexamples.md, C10). So both call this one function. docs/design.md §5.

import type { BlockRef, PeerId } from "#model";
import { TorusError } from "#model";
import type { Ring } from "./ring.ts";

/** From block `fromIndex` on (until the next row), copies are placed by this ring version, without these peers. */
export interface LogRow {
  readonly fromIndex: number;
  readonly ringVersion: number;
  readonly replicas: number;
  readonly without: readonly PeerId[];
}

/** `peer` holds nothing that counts of the blocks fromIndex <= index < toIndex. */
export interface Strike {
  readonly peer: PeerId;
  readonly fromIndex: number;
  readonly toIndex: number;
}

export interface LogPlacement {
  /** By `fromIndex`, ascending. */
  readonly rows: readonly LogRow[];
  readonly struck: readonly Strike[];
}

/** The row in force for block `index`. Throws `corrupt` when none is: such a logmap must not be acted on. */
export function rowOf(index: number, rows: readonly LogRow[]): LogRow {
  for (let i = rows.length - 1; i >= 0; i--) if (rows[i].fromIndex <= index) return rows[i];
  throw new TorusError("corrupt", `the logmap has no row for block ${index}`);
}

/**
 * The peers that hold data block `index` of a log: the first `replicas` of the row's ring for `ref` that the row does
 * not leave out, less those struck from this block. Of a union only the new part counts. Fewer than `replicas`, even
 * none, when there are not more: the caller decides whether that is enough.
 */
export function ensemble(
  index: number,
  ref: BlockRef,
  placement: LogPlacement,
  ringOf: (version: number) => Ring,
): PeerId[] {
  const row = rowOf(index, placement.rows);
  const ring = ringOf(row.ringVersion);
  const members: PeerId[] = [];
  for (const peer of (ring.parts?.new ?? ring).permutation(ref)) {
    if (members.length === row.replicas) break;
    if (!row.without.includes(peer)) members.push(peer);
  }
  if (placement.struck.length === 0) return members;
  return members.filter((peer) => !isStruck(peer, index, placement.struck));
}

/** Whether `peer` was struck from block `index`. */
export function isStruck(peer: PeerId, index: number, struck: readonly Strike[]): boolean {
  return struck.some((strike) => strike.peer === peer && strike.fromIndex <= index && index < strike.toIndex);
}
