// BlockIndex: which slot holds a block, in ref order. Blocks of one log and type form a group, whose indexes lie sorted
// beside their slots in plain arrays: 16 bytes a block, look-ups by binary search, and a new block of a log goes at the end.

import type { BlockRef, BlockType, Epoch, VolumeId, VolumeTrace } from "#model";

interface Group {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly type: BlockType;
  readonly indexes: number[];
  readonly slots: number[];
}

export interface IndexedBlock {
  readonly ref: BlockRef;
  readonly slot: number;
}

export class BlockIndex {
  /** By volume, epoch, type. */
  readonly #groups: Group[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The slot of `ref`, -1 when there is none. */
  find(ref: BlockRef): number {
    const group = this.#groups[this.#groupAt(ref)];
    if (group === undefined || !isGroupOf(group, ref)) return -1;
    const at = lowerBound(group.indexes, ref.index);
    return group.indexes[at] === ref.index ? group.slots[at] : -1;
  }

  /** Says where `ref` is from now on. */
  set(ref: BlockRef, slot: number): void {
    const groupAt = this.#groupAt(ref);
    let group = this.#groups[groupAt];
    if (group === undefined || !isGroupOf(group, ref)) {
      group = { volume: ref.volume, epoch: ref.epoch, type: ref.type, indexes: [], slots: [] };
      this.#groups.splice(groupAt, 0, group);
    }
    const at = lowerBound(group.indexes, ref.index);
    if (group.indexes[at] === ref.index) {
      group.slots[at] = slot;
      return;
    }
    group.indexes.splice(at, 0, ref.index);
    group.slots.splice(at, 0, slot);
    this.#size += 1;
  }

  delete(ref: BlockRef): void {
    const groupAt = this.#groupAt(ref);
    const group = this.#groups[groupAt];
    if (group === undefined || !isGroupOf(group, ref)) return;
    const at = lowerBound(group.indexes, ref.index);
    if (group.indexes[at] !== ref.index) return;
    group.indexes.splice(at, 1);
    group.slots.splice(at, 1);
    if (group.indexes.length === 0) this.#groups.splice(groupAt, 1);
    this.#size -= 1;
  }

  /** At most `limit` blocks after `after` (from the first for null), in the order volume, epoch, type, index. */
  after(after: BlockRef | null, limit: number): IndexedBlock[] {
    const found: IndexedBlock[] = [];
    let groupAt = after === null ? 0 : this.#groupAt(after);
    for (; groupAt < this.#groups.length && found.length < limit; groupAt++) {
      const group = this.#groups[groupAt];
      let at = after !== null && isGroupOf(group, after) ? lowerBound(group.indexes, after.index + 1) : 0;
      for (; at < group.indexes.length && found.length < limit; at++) found.push(blockOf(group, at));
    }
    return found;
  }

  /** All blocks of one log and type, by index. */
  group(volume: VolumeId, epoch: Epoch, type: BlockType): IndexedBlock[] {
    const ref = { volume, epoch, type, index: 0 };
    const group = this.#groups[this.#groupAt(ref)];
    if (group === undefined || !isGroupOf(group, ref)) return [];
    return group.indexes.map((_, at) => blockOf(group, at));
  }

  /** Of each volume with blocks its highest epoch and how many there are, by volume. */
  *volumes(): Generator<VolumeTrace> {
    for (let at = 0; at < this.#groups.length; ) {
      const { volume } = this.#groups[at];
      let epoch = 0;
      let blocks = 0;
      for (; at < this.#groups.length && this.#groups[at].volume === volume; at++) {
        epoch = Math.max(epoch, this.#groups[at].epoch);
        blocks += this.#groups[at].indexes.length;
      }
      yield { volume, epoch, blocks };
    }
  }

  /** Where the group of `ref` is, or would be. */
  #groupAt(ref: BlockRef): number {
    let low = 0;
    let high = this.#groups.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const group = this.#groups[middle];
      const order = group.volume - ref.volume || group.epoch - ref.epoch || group.type - ref.type;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isGroupOf(group: Group, ref: BlockRef): boolean {
  return group.epoch === ref.epoch && group.volume === ref.volume && group.type === ref.type;
}

function blockOf(group: Group, at: number): IndexedBlock {
  const { volume, epoch, type } = group;
  return { ref: { type, volume, epoch, index: group.indexes[at] }, slot: group.slots[at] };
}

/** The first place in sorted `values` that is not below `value`. */
function lowerBound(values: readonly number[], value: number): number {
  let low = 0;
  let high = values.length;
  if (high > 0 && values[high - 1] < value) return high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
