// CollectMachine: which of a peer's blocks are dead [C6]. One pass lists the own blocks first, then takes the metadata at one revision,
// then what all INodes need; what a later pass, at least the grace period after, finds dead again is due.
//
// Why it is sound: a block that was listed before the metadata was read belongs to a volume that is in it, or was deleted. What
// the kept INodes and the log from the replay position on do not name will never be named again: a map gains only places in
// blocks of its epoch's log, a checkpoint shares nodes only of the head before it or of blocks above that head's root, an
// attach starts from head, and a snapshot or clone commits only while what it was taken from is still kept. The log that a history has begins at a
// point that was the head when it was added, and later points only come behind it: what is before all of them is read by nobody.
// The grace period is for whoever still reads by an older head.

import type { ClusterSnapshot } from "#metadata";
import type { BlockRef, BlockStatus, VolumeId } from "#model";
import { assert, blockType } from "#model";
import type { BlockGroup } from "./block-list.ts";
import { BlockList } from "./block-list.ts";
import { historyStanding } from "./roots.ts";

export interface CollectOptions {
  /** From the pass that finds a block dead to the first that may find it due. */
  readonly graceMs: number;
}

/** needed: an INode names it. kept: no INode does, and yet it may not go. */
export interface SpaceUse {
  readonly neededBytes: number;
  readonly keptBytes: number;
  /** Of dead blocks. */
  readonly reclaimableBytes: number;
  readonly reclaimableBlocks: number;
}

export interface CollectVerdict {
  readonly revision: number;
  /** In force then. */
  readonly ringVersion: number;
  /** Dead now, and in an earlier pass the grace period before this one. */
  readonly due: readonly BlockRef[];
  readonly use: SpaceUse;
  /** Volumes of blocks here of which the metadata knows nothing: an alarm, never garbage [C7]. */
  readonly unknown: readonly VolumeId[];
  /** Deleted volumes of which there are blocks here, or which were not known for the grace period: a copy may be under way. */
  readonly buriedHere: readonly VolumeId[];
}

/** What may happen to the blocks of a group that no INode needs. */
type Rule = "unknown" | { readonly deadBelow: number };

const never: Rule = { deadBelow: 0 };

/** Blocks as a pass listed them, each with the first pass of those since then that all listed it. */
interface Listing {
  readonly blocks: BlockList;
  readonly since: readonly number[];
}

/** One pass: first `listed`, then `read`, then `need`. */
export class CollectPass {
  readonly beganMs: number;
  /** Passes count up. */
  readonly number: number;
  readonly blocks = new BlockList();
  readonly since: number[] = [];
  readonly #before: Listing;
  /** By volume, of its blocks that may be found dead: the pass since which the newest has been here. */
  readonly #newest = new Map<VolumeId, number>();
  #snapshot: ClusterSnapshot | null = null;
  #needed = new Uint8Array(0);

  constructor(beganMs: number, number: number, before: Listing) {
    this.beganMs = beganMs;
    this.number = number;
    this.#before = before;
  }

  /** A page of the own blocks, open ones too. */
  listed(blocks: readonly BlockStatus[]): void {
    assert(this.#snapshot === null, "the own blocks are listed before the metadata is read");
    for (const { ref, held } of blocks) {
      this.blocks.add(ref, held);
      const before = this.#before.blocks.find(ref);
      this.since.push(before === -1 ? this.number : this.#before.since[before]);
    }
  }

  /** All metadata, read after the last page. */
  read(snapshot: ClusterSnapshot): void {
    assert(this.#snapshot === null, "the metadata of a pass is read once");
    this.#snapshot = snapshot;
    this.#needed = new Uint8Array(this.blocks.size);
    for (const group of this.blocks.groups) {
      const deadBelow = deadBelowOf(ruleOf(group, snapshot));
      let newest = this.#newest.get(group.volume) ?? 0;
      for (let place = group.start; place < group.end; place++)
        if (this.blocks.indexAt(place) < deadBelow) newest = Math.max(newest, this.since[place]);
      this.#newest.set(group.volume, newest);
    }
  }

  /** A block that an INode of the snapshot needs. Returns its place in the list, -1 when it is not listed. */
  need(ref: BlockRef): number {
    const place = this.blocks.find(ref);
    if (place !== -1) this.#needed[place] = 1;
    return place;
  }

  /** Of the blocks of `volume` here that may be found dead: since which pass the newest has been here; 0 for none. */
  newestOf(volume: VolumeId): number {
    return this.#newest.get(volume) ?? 0;
  }

  get snapshot(): ClusterSnapshot {
    assert(this.#snapshot !== null, "a pass is judged by metadata");
    return this.#snapshot;
  }

  isNeeded(place: number): boolean {
    return this.#needed[place] === 1;
  }
}

export class CollectMachine {
  readonly #graceMs: number;
  /** What the last whole pass found dead, each with when it was found so first, without a pass between that found it alive. */
  #dead = new BlockList();
  /** Of the last whole pass. */
  #listing: Listing = { blocks: new BlockList(), since: [] };
  #passes = 0;
  readonly #buriedSinceMs = new Map<VolumeId, number>();

  constructor(options: CollectOptions) {
    this.#graceMs = options.graceMs;
  }

  /** The last whole pass found it dead: it goes soon, and is not worth any work. */
  isDead(ref: BlockRef): boolean {
    return this.#dead.find(ref) !== -1;
  }

  /** Nothing of an earlier pass that was not finished counts. */
  begin(nowMs: number): CollectPass {
    this.#passes += 1;
    return new CollectPass(nowMs, this.#passes, this.#listing);
  }

  /** Once every INode of the pass's snapshot was read. */
  finish(pass: CollectPass, nowMs: number): CollectVerdict {
    const { blocks, snapshot } = pass;
    const found = new BlockList();
    const due: BlockRef[] = [];
    const unknown = new Set<VolumeId>();
    const use = { neededBytes: 0, keptBytes: 0, reclaimableBytes: 0, reclaimableBlocks: 0 };
    for (const group of blocks.groups) {
      const rule = ruleOf(group, snapshot);
      if (rule === "unknown") unknown.add(group.volume);
      const deadBelow = deadBelowOf(rule);
      for (let place = group.start; place < group.end; place++) {
        const bytes = blocks.numberAt(place);
        if (isNeeded(group, blocks.indexAt(place), pass.isNeeded(place), snapshot)) use.neededBytes += bytes;
        else if (blocks.indexAt(place) >= deadBelow) use.keptBytes += bytes;
        else {
          use.reclaimableBytes += bytes;
          use.reclaimableBlocks += 1;
          const ref = blocks.refAt(group, place);
          const known = this.#dead.find(ref);
          const sinceMs = known === -1 ? nowMs : this.#dead.numberAt(known);
          found.add(ref, sinceMs);
          if (pass.beganMs - sinceMs >= this.#graceMs) due.push(ref);
        }
      }
    }
    this.#dead = found;
    this.#listing = { blocks, since: pass.since };
    const buriedHere = this.#buriedHere(pass, nowMs);
    const { revision, ringVersion } = snapshot;
    return { revision, ringVersion, due, use, unknown: [...unknown], buriedHere };
  }

  #buriedHere({ beganMs, blocks, snapshot }: CollectPass, nowMs: number): VolumeId[] {
    for (const volume of this.#buriedSinceMs.keys())
      if (!snapshot.tombstones.has(volume)) this.#buriedSinceMs.delete(volume);
    const here = new Set(blocks.groups.map(({ volume }) => volume));
    return [...snapshot.tombstones.keys()].filter((volume) => {
      const sinceMs = this.#buriedSinceMs.get(volume) ?? nowMs;
      this.#buriedSinceMs.set(volume, sinceMs);
      return here.has(volume) || beganMs - sinceMs < this.#graceMs;
    });
  }
}

function deadBelowOf(rule: Rule): number {
  return rule === "unknown" ? 0 : rule.deadBelow;
}

/** By some INode (`isNamed`), or as part of a log that is kept. */
function isNeeded(
  { volume, epoch, type }: BlockGroup,
  index: number,
  isNamed: boolean,
  { volumes }: ClusterSnapshot,
): boolean {
  const state = volumes.get(volume);
  const standing = state === undefined ? "none" : historyStanding({ type, epoch, index }, state);
  return standing === "needed" || (isNamed && standing !== "superseded");
}

/** Up to which index blocks of `group` are dead when no INode needs them. */
function ruleOf({ volume, epoch, type }: BlockGroup, snapshot: ClusterSnapshot): Rule {
  const state = snapshot.volumes.get(volume);
  if (state === undefined) {
    const tombstone = snapshot.tombstones.get(volume);
    // No writer had an epoch above the tombstone's: such a block is of a history this metadata does not know.
    if (tombstone === undefined || epoch > tombstone.epoch) return "unknown";
    return all(type);
  }
  const { head } = state;
  if (head === null || epoch > head.epoch) return never;
  if (epoch < head.epoch) return all(type);
  if (type === blockType.data) return { deadBelow: head.replayFrom };
  const root = head.root?.ref;
  // INodes being written, or put and not committed, lie above the root of head; later ones share nodes with them.
  const isOwn = root?.volume === volume && root.epoch === epoch;
  return type === blockType.inode && isOwn ? { deadBelow: root.index } : never;
}

/** All blocks of a log that is over, but for types this Torus does not know. */
function all(type: number): Rule {
  return type === blockType.data || type === blockType.inode
    ? { deadBelow: Number.POSITIVE_INFINITY }
    : never;
}
