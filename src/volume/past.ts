// Past: what a volume was at a time, from its history: the INode of the newest point before, with the log replayed up to that time. Made beside
// the volume's own map, which it leaves alone.
//
// Invariants: every block is read whole and sealed, its bytes match the seal, and its records chain on to those before: a past is exact, or there is none.
// Only sealed blocks are replayed: the log of an epoch that is over up to where the next one says, and then that one from its beginning
// (tail.ts); the present one up to `end`.

import type { Reader } from "#distributor";
import type { HistoryPoint, HistoryRecord, NodePointer } from "#metadata";
import { pointAt } from "#metadata";
import type { BlockRef, BlockStatus, BlockStore, Epoch, PeerId, RecordFrame, VolumeId } from "#model";
import { blockType, crc32, messageOf, pageBytes, TorusError, verifyRecords } from "#model";
import { BlockTable } from "./block-table.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { OpenInode } from "./inode.ts";
import { openInode } from "./inode.ts";
import { encodeInode } from "./inode-encoder.ts";
import type { PlaceNode } from "./pointer-tree.ts";
import { chainStart } from "./recovery.ts";
import { lengthUpTo, replayBlock } from "./replay.ts";

export interface PastOptions {
  readonly volume: VolumeId;
  readonly name: string;
  readonly history: HistoryRecord;
  readonly atMs: number;
  /** Blocks of this epoch's log are sealed everywhere below this index, and no record behind it is wanted. */
  readonly end: { readonly epoch: Epoch; readonly index: number };
}

export interface PastDeps {
  readonly reader: Reader;
  readonly view: ClusterView;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly isLost: () => boolean;
}

/** Changed leaves are in memory until they are encoded: some 700 MB. */
const leavesMax = 131_072;
const mapCacheBytes = 64 * 2 ** 20;

export class Past {
  readonly point: HistoryPoint;
  readonly #inode: OpenInode & { readonly table: BlockTable };
  readonly #end: { readonly epoch: Epoch; readonly index: number };

  constructor(
    point: HistoryPoint,
    inode: OpenInode & { readonly table: BlockTable },
    end: { readonly epoch: Epoch; readonly index: number },
  ) {
    this.point = point;
    this.#inode = inode;
    this.#end = end;
  }

  /** Data blocks of this epoch's log from this index on came later. */
  get end(): { readonly epoch: Epoch; readonly index: number } {
    return this.#end;
  }

  get sizeBytes(): number {
    return this.point.sizeBytes;
  }

  space(blockBytes: number): { readonly liveBytes: number; readonly logBytes: number } {
    return this.#inode.table.space(blockBytes);
  }

  /** The INode; once. */
  encode(place: PlaceNode): NodePointer {
    return encodeInode(this.#inode, this.point.sizeBytes, 1, place);
  }
}

/** Rejects with `not-found` when the history does not reach back so far, `incomplete` when the log is not whole there. */
export async function openPast(options: PastOptions, deps: PastDeps): Promise<Past> {
  const { history, atMs, name } = options;
  const point = pointAt(history, atMs);
  if (point === null) {
    const first = history.points.at(0);
    const since =
      first === undefined ? "begins with the next checkpoint" : `reaches back to ${timeText(first.timeMs)}`;
    throw new TorusError(
      "not-found",
      `the history of volume "${name}" ${since}: it has nothing of ${timeText(atMs)}`,
    );
  }
  await deps.view.requireRings([point.ringVersion]);
  const table = new BlockTable();
  const inode = await openInode({ root: point.root, mapCacheBytes }, { table, reader: deps.reader });
  const replay = new PastReplay({ ...options, sizeBytes: point.sizeBytes }, { ...inode, table }, deps);
  const end = await replay.run(point);
  return new Past(point, { ...inode, table }, end);
}

/** ISO 8601, in UTC. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

class PastReplay {
  readonly #options: PastOptions;
  readonly #inode: OpenInode & { readonly table: BlockTable };
  readonly #deps: PastDeps;
  readonly #pagesMax: number;
  #chain: RecordFrame = chainStart({ sequence: 0, previous: 0 });

  constructor(
    options: PastOptions & { readonly sizeBytes: number },
    inode: OpenInode & { readonly table: BlockTable },
    deps: PastDeps,
  ) {
    this.#options = options;
    this.#pagesMax = options.sizeBytes / pageBytes;
    this.#inode = inode;
    this.#deps = deps;
  }

  /** Replays from `point` on; resolves with the block behind the last one it has anything of. */
  async run(point: HistoryPoint): Promise<{ epoch: Epoch; index: number }> {
    let { epoch, replayFrom: index } = point;
    this.#chain = chainStart(point);
    for (;;) {
      const next = this.#startAfter(epoch);
      const endIndex = next === null ? this.#endOf(epoch) : (next.previousEnd ?? 0);
      if (index >= endIndex) {
        if (next === null) break;
        epoch = next.epoch;
        index = 1;
        this.#chain = chainStart({ sequence: 0, previous: 0 });
      } else {
        if (!(await this.#replay(this.#refOf(epoch, index)))) break;
        index += 1;
      }
    }
    await this.#finish();
    return { epoch, index };
  }

  /** The first point of the next epoch that served. */
  #startAfter(epoch: Epoch): HistoryPoint | null {
    const { points } = this.#options.history;
    return points.find((point) => point.epoch > epoch && point.previousEnd !== null) ?? null;
  }

  #endOf(epoch: Epoch): number {
    const { end, name } = this.#options;
    if (epoch === end.epoch) return end.index;
    throw new TorusError("corrupt", `the history of volume "${name}" does not say where epoch ${epoch} ends`);
  }

  #refOf(epoch: Epoch, index: number): BlockRef {
    return { type: blockType.data, volume: this.#options.volume, epoch, index };
  }

  /** False once a record is of a later time. */
  async #replay(ref: BlockRef): Promise<boolean> {
    const { atMs, name } = this.#options;
    const { map, table } = this.#inode;
    const { isLost, reader } = this.#deps;
    if (isLost()) throw new TorusError("attachment-lost", `volume "${name}" was lost meanwhile`);
    const { held: length, checksum } = await this.#sealOf(ref);
    const bytes = await reader.read(ref, 0, length, (whole) => crc32(whole) === checksum);
    const verified = verifyRecords(bytes, ref, 0, 0, this.#chain);
    if (verified.length !== length || verified.last === null) throw this.#isBroken(ref);
    this.#chain = verified.last;
    const wanted = lengthUpTo(bytes, atMs);
    if (wanted > 0) {
      const id = table.idOf(ref) || table.add(ref);
      // Its id is not given to another while its records are applied.
      table.enter(id);
      await replayBlock(map, table, id, bytes.subarray(0, wanted), this.#pagesMax);
      for (let loads = map.loads(); loads !== null; loads = map.loads()) await loads;
      table.leave(id, length, checksum);
      if (map.dirtyLeaves > leavesMax) throw this.#isTooLong();
    }
    return wanted === length;
  }

  /** What whoever has it sealed says of it. A block may be on its way from one peer to another: all are asked again by the newest ring. */
  async #sealOf(ref: BlockRef): Promise<BlockStatus> {
    const { view, storeOf } = this.#deps;
    let silent: string[] = [];
    for (let round = 0; round < 2; round++) {
      if (round > 0) await view.refreshRing();
      silent = [];
      for (const peer of view.candidatesOf(ref)) {
        try {
          const [status] = await storeOf(peer).stat([ref]);
          if (status.state === "sealed" && !status.damaged) return status;
        } catch (error) {
          silent.push(`peer ${peer}: ${messageOf(error)}`);
        }
      }
    }
    if (silent.length === 0) throw this.#isBroken(ref);
    throw new TorusError(
      "unavailable",
      `block ${ref.index} of the log is with nobody who answers: ${silent[0]}`,
    );
  }

  /** Nothing that stays may be in a block that was open when the point was made: all of those were replayed. */
  async #finish(): Promise<void> {
    const { map, table } = this.#inode;
    for (let loads = map.loads(); loads !== null; loads = map.loads()) await loads;
    for (const id of [...table.ids()]) {
      if (table.isSealed(id)) continue;
      if (table.liveOf(id) > 0) throw this.#isBroken(table.ref(id));
      table.dropDead(id);
    }
  }

  #isBroken({ epoch, index }: BlockRef): TorusError {
    const { name, atMs } = this.#options;
    return new TorusError(
      "incomplete",
      `the log of volume "${name}" is not whole at block ${index} of epoch ${epoch}, where too few copies were left: what it was at ${timeText(atMs)} cannot be had; try a time before or after`,
    );
  }

  #isTooLong(): TorusError {
    const { name, atMs } = this.#options;
    return new TorusError(
      "limit",
      `volume "${name}" was written all over between the point of its history before ${timeText(atMs)} and then: choose a time nearer behind a point (torusctl volume history ${name})`,
    );
  }
}
