// BlockList: the names of very many blocks in little memory (16 bytes each), in the order of refs, each with a number beside it.
// A peer may have hundreds of thousands; a Map of texts would cost ten times as much.

import type { BlockRef, BlockType, Epoch, VolumeId } from "#model";
import { assert } from "#model";

/** Blocks of one volume, epoch and type: places [start, end) of the list. */
export interface BlockGroup {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly type: BlockType;
  readonly start: number;
  end: number;
}

export class BlockList {
  readonly #groups: BlockGroup[] = [];
  readonly #indexes: number[] = [];
  readonly #numbers: number[] = [];

  get size(): number {
    return this.#indexes.length;
  }

  get groups(): readonly BlockGroup[] {
    return this.#groups;
  }

  /** Adds a block that comes after all there are, in the order of refs. */
  add(ref: BlockRef, number: number): void {
    const last = this.#groups.at(-1);
    const order = last === undefined ? -1 : orderOf(last, ref);
    if (last !== undefined && order === 0) {
      assert(this.#indexes[last.end - 1] < ref.index, "blocks are listed in order");
      last.end += 1;
    } else {
      assert(order < 0, "blocks are listed in order");
      const { volume, epoch, type } = ref;
      this.#groups.push({ volume, epoch, type, start: this.size, end: this.size + 1 });
    }
    this.#indexes.push(ref.index);
    this.#numbers.push(number);
  }

  /** The place of `ref`, -1 when it is not listed. */
  find(ref: BlockRef): number {
    let low = 0;
    let high = this.#groups.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (orderOf(this.#groups[middle], ref) < 0) low = middle + 1;
      else high = middle;
    }
    const group = this.#groups.at(low);
    if (group === undefined || orderOf(group, ref) !== 0) return -1;
    let first = group.start;
    let end = group.end;
    while (first < end) {
      const middle = (first + end) >>> 1;
      if (this.#indexes[middle] < ref.index) first = middle + 1;
      else end = middle;
    }
    return first < group.end && this.#indexes[first] === ref.index ? first : -1;
  }

  /** The block at a place of `group`. */
  refAt({ type, volume, epoch }: BlockGroup, place: number): BlockRef {
    return { type, volume, epoch, index: this.#indexes[place] };
  }

  indexAt(place: number): number {
    return this.#indexes[place];
  }

  numberAt(place: number): number {
    return this.#numbers[place];
  }
}

function orderOf(group: BlockGroup, ref: BlockRef): number {
  return group.volume - ref.volume || group.epoch - ref.epoch || group.type - ref.type;
}
