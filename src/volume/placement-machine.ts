// PlacementMachine: the rows and strikes of the log being written, and what change to them is called for. It decides; the
// log writer commits what it decided to the logmap before anything is appended under it (docs/design.md §5).
//
// Invariants: rows begin at ascending indexes, strikes are never taken back, and nothing here takes effect before
// `adopt`, which the writer calls once the metadata service has it.

import type { LogMapRecord } from "#metadata";
import type { BlockRef, Epoch, PeerId, VolumeId } from "#model";
import { blockType } from "#model";
import type { LogRow, Ring, Strike } from "#ring";
import { ensemble } from "#ring";

/** A block that is not yet sealed on all its members, as far as placement cares. */
export interface UnsealedBlock {
  readonly index: number;
  readonly members: readonly PeerId[];
  /** Members that have not sealed it. */
  readonly unsealedBy: readonly PeerId[];
}

export interface PlacementInput {
  /** Of the ring now in force. */
  readonly ring: Ring;
  readonly ringOf: (version: number) => Ring;
  readonly unsealed: readonly UnsealedBlock[];
  /** Where the next block of the log will be. */
  readonly nextIndex: number;
  /** Members that were lost and have been away too long. */
  readonly overdue: readonly PeerId[];
  /** Peers a row leaves out which answer again. */
  readonly returned: readonly PeerId[];
  readonly minReplicas: number;
}

export type PlacementPlan =
  /** Nothing to change. */
  | { readonly kind: "keep" }
  /**
   * Commit this, then go on. `struck` are the strikes that are new. `move`: some block would have too few copies left, so the live pages of
   * all unsealed blocks must be appended again; nobody is struck.
   */
  | {
      readonly kind: "change";
      readonly logmap: LogMapRecord;
      readonly struck: readonly Strike[];
      readonly move: boolean;
    }
  /** No change helps: writes wait, and this says for what. */
  | { readonly kind: "stall"; readonly reason: string };

export class PlacementMachine {
  readonly #volume: VolumeId;
  readonly #epoch: Epoch;
  #rows: readonly LogRow[];
  #struck: readonly Strike[] = [];

  constructor(volume: VolumeId, epoch: Epoch, firstRow: LogRow) {
    this.#volume = volume;
    this.#epoch = epoch;
    this.#rows = [firstRow];
  }

  get logmap(): LogMapRecord {
    return { epoch: this.#epoch, rows: this.#rows, struck: this.#struck };
  }

  get lastRow(): LogRow {
    return this.#rows[this.#rows.length - 1];
  }

  /** Rows besides the last: a head that replays from later does not need them. */
  get hasOldRows(): boolean {
    return this.#rows.length > 1;
  }

  /** The first block any row is about. */
  get firstIndex(): number {
    return this.#rows[0].fromIndex;
  }

  refOf(index: number): BlockRef {
    return { type: blockType.data, volume: this.#volume, epoch: this.#epoch, index };
  }

  ensembleOf(index: number, ringOf: (version: number) => Ring): PeerId[] {
    return ensemble(index, this.refOf(index), this.logmap, ringOf);
  }

  /** What must change before the next block opens. */
  plan(input: PlacementInput): PlacementPlan {
    const row = this.#nextRow(input);
    const rows = sameRow(row, this.lastRow) ? this.#rows : withRow(this.#rows, row);
    const strikes = this.#strikes(input);
    const struck = strikes.kind === "strikes" ? strikes.struck : [];
    const logmap = { epoch: this.#epoch, rows, struck: [...this.#struck, ...struck] };
    const next = ensemble(input.nextIndex, this.refOf(input.nextIndex), logmap, input.ringOf);
    if (next.length < input.minReplicas) {
      return {
        kind: "stall",
        reason:
          strikes.kind === "short"
            ? `peer ${strikes.peer} is away and block ${strikes.index} has no copy to spare: ${input.minReplicas} are needed; waiting for it to come back`
            : `the ring offers ${next.length} live peers for a new block and ${input.minReplicas} are needed; waiting for peers`,
      };
    }
    const move = strikes.kind === "short";
    if (rows === this.#rows && struck.length === 0 && !move) return { kind: "keep" };
    return { kind: "change", logmap, struck, move };
  }

  /** Strikes of everybody who is overdue, or the block that one of them would leave short. */
  #strikes(
    input: PlacementInput,
  ): { kind: "strikes"; struck: Strike[] } | { kind: "short"; peer: PeerId; index: number } {
    const struck: Strike[] = [];
    let blocks = input.unsealed;
    for (const peer of input.overdue) {
      const touched = blocks.filter((block) => block.unsealedBy.includes(peer));
      if (touched.length === 0) continue;
      const short = touched.find((block) => block.members.length - 1 < input.minReplicas);
      if (short !== undefined) return { kind: "short", peer, index: short.index };
      const first = touched[0].index;
      struck.push({ peer, fromIndex: first, toIndex: input.nextIndex });
      blocks = blocks.map((block) => (block.index < first ? block : withoutMember(block, peer)));
    }
    return { kind: "strikes", struck };
  }

  /** The planned change is committed. */
  adopt(logmap: LogMapRecord): void {
    this.#rows = logmap.rows;
    this.#struck = logmap.struck;
  }

  /** Forgets rows and strikes that a committed head does not need any more. */
  forgetBefore(replayFrom: number): void {
    this.adopt(trimLogmap(this.logmap, replayFrom));
  }

  /** The row for the next block: the ring in force, without the peers that are away. */
  #nextRow(input: PlacementInput): LogRow {
    const { ring } = input;
    const known = new Set(ring.members.map((member) => member.peer));
    const without = new Set(this.lastRow.without.filter((peer) => !input.returned.includes(peer)));
    for (const peer of input.overdue) without.add(peer);
    return {
      fromIndex: input.nextIndex,
      ringVersion: ring.version,
      replicas: ring.replicas,
      without: [...without].filter((peer) => known.has(peer)).sort(),
    };
  }
}

function withoutMember(block: UnsealedBlock, peer: PeerId): UnsealedBlock {
  return { ...block, members: block.members.filter((member) => member !== peer) };
}

function sameRow(a: LogRow, b: LogRow): boolean {
  return (
    a.ringVersion === b.ringVersion &&
    a.replicas === b.replicas &&
    a.without.join(" ") === b.without.join(" ")
  );
}

/** A row that begins where the last one does replaces it: no block was opened under it. */
function withRow(rows: readonly LogRow[], row: LogRow): LogRow[] {
  return rows.at(-1)?.fromIndex === row.fromIndex ? [...rows.slice(0, -1), row] : [...rows, row];
}

/** What a head that replays from `replayFrom` still needs of `logmap`. */
export function trimLogmap(logmap: LogMapRecord, replayFrom: number): LogMapRecord {
  const rows = logmap.rows.filter((_, i) => {
    const next = logmap.rows.at(i + 1);
    return next === undefined || next.fromIndex > replayFrom;
  });
  return { epoch: logmap.epoch, rows, struck: logmap.struck.filter((strike) => strike.toIndex > replayFrom) };
}

/** The first row of a log: the ring in force, without the peers that did not answer the fence. */
export function firstRowOf(ring: Ring, answered: ReadonlyMap<PeerId, unknown>): LogRow {
  const silent = ring.members.map(({ peer }) => peer).filter((peer) => !answered.has(peer));
  return { fromIndex: 1, ringVersion: ring.version, replicas: ring.replicas, without: silent.sort() };
}
