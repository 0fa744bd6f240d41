// RefMap: a map by BlockRef for hot paths: without a text for each look-up. Blocks of one log lie in a map of their own, by index, and the log
// asked for last is looked at first.

import type { BlockRef } from "./block-ref.ts";

interface Group<Value> {
  readonly type: number;
  readonly volume: number;
  readonly epoch: number;
  readonly byIndex: Map<number, Value>;
}

export class RefMap<Value> {
  #groups: Group<Value>[] = [];
  #last: Group<Value> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(ref: BlockRef): Value | undefined {
    return this.#find(ref)?.byIndex.get(ref.index);
  }

  set(ref: BlockRef, value: Value): void {
    let group = this.#find(ref);
    if (group === null) {
      const { type, volume, epoch } = ref;
      group = { type, volume, epoch, byIndex: new Map() };
      this.#groups.push(group);
    }
    const before = group.byIndex.size;
    group.byIndex.set(ref.index, value);
    this.#size += group.byIndex.size - before;
  }

  delete(ref: BlockRef): void {
    const group = this.#find(ref);
    if (group === null || !group.byIndex.delete(ref.index)) return;
    this.#size -= 1;
    if (group.byIndex.size > 0) return;
    this.#groups = this.#groups.filter((other) => other !== group);
    this.#last = null;
  }

  clear(): void {
    this.#groups = [];
    this.#last = null;
    this.#size = 0;
  }

  *values(): Generator<Value> {
    for (const { byIndex } of this.#groups) yield* byIndex.values();
  }

  #find(ref: BlockRef): Group<Value> | null {
    const last = this.#last;
    if (last !== null && isOf(last, ref)) return last;
    for (const group of this.#groups) {
      if (!isOf(group, ref)) continue;
      this.#last = group;
      return group;
    }
    return null;
  }
}

function isOf(group: Group<unknown>, { type, volume, epoch }: BlockRef): boolean {
  return group.epoch === epoch && group.volume === volume && group.type === type;
}
