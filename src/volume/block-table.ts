// BlockTable: the blocks a volume's map points into, each under a small number (its *id*), with how many live pages it has and, once
// sealed, its (length, checksum). Ids keep the map at ten bytes a page.
//
// Invariants: id 0 is no block (a hole). `live` counts the map's pages that point into the block, exactly. An id is given
// again only when its block has no live page, is sealed and its bytes have left this process: then no leaf names it.

import type { BlockRef } from "#model";
import { assert, blockRefKey, blockType, pageBytes } from "#model";

/** Ids of one chunk of the table as it is stored in an INode. */
export const tableChunkIds = 128;

export interface TableEntry {
  readonly ref: BlockRef;
  /** 0 and 0 while the block is open. */
  readonly length: number;
  readonly checksum: number;
  readonly live: number;
  readonly sealed: boolean;
}

const flagUsed = 1;
const flagSealed = 2;
/** Its bytes are still in this process's log window. */
const flagHeldHere = 4;

export class BlockTable {
  #capacity = 1024;
  #volume = new Float64Array(this.#capacity);
  #epoch = new Float64Array(this.#capacity);
  #index = new Float64Array(this.#capacity);
  #length = new Uint32Array(this.#capacity);
  #checksum = new Uint32Array(this.#capacity);
  #live = new Uint32Array(this.#capacity);
  #flags = new Uint8Array(this.#capacity);
  readonly #byRef = new Map<string, number>();
  readonly #free: number[] = [];
  #next = 1;
  readonly #dirtyChunks = new Set<number>();
  #livePages = 0;
  #deaths = 0;

  /** Pages the map points at. */
  get livePages(): number {
    return this.#livePages;
  }

  /** Blocks that have left the table so far, because nothing points at them any more. */
  get deaths(): number {
    return this.#deaths;
  }

  /** What the map points at, and the space that its blocks of `blockBytes` take: one copy of each. */
  space(blockBytes: number): { readonly liveBytes: number; readonly logBytes: number } {
    return { liveBytes: this.#livePages * pageBytes, logBytes: this.#byRef.size * blockBytes };
  }

  /** The id of `ref`, or 0. */
  idOf(ref: BlockRef): number {
    return this.#byRef.get(blockRefKey(ref)) ?? 0;
  }

  /** A new open block of the log. */
  add(ref: BlockRef): number {
    assert(ref.type === blockType.data, "the table lists data blocks");
    assert(this.idOf(ref) === 0, "a block is added once");
    const id = this.#free.pop() ?? this.#next++;
    this.#grow(id);
    this.#set(id, ref, 0, 0, 0, flagUsed);
    return id;
  }

  /** Puts an entry read from an INode in its place. */
  restore(id: number, entry: TableEntry): void {
    this.#grow(id);
    if (id >= this.#next) {
      for (let skipped = this.#next; skipped < id; skipped++) this.#free.push(skipped);
      this.#next = id + 1;
    }
    this.#set(
      id,
      entry.ref,
      entry.length,
      entry.checksum,
      entry.live,
      flagUsed | (entry.sealed ? flagSealed : 0),
    );
    this.#livePages += entry.live;
    this.#dirtyChunks.delete(chunkOf(id));
  }

  ref(id: number): BlockRef {
    assert(this.#used(id), "an id of the map names a block");
    return { type: blockType.data, volume: this.#volume[id], epoch: this.#epoch[id], index: this.#index[id] };
  }

  /** `id` is the name of `ref` now. */
  isNamed(id: number, ref: BlockRef): boolean {
    return (
      this.#used(id) &&
      this.#index[id] === ref.index &&
      this.#epoch[id] === ref.epoch &&
      this.#volume[id] === ref.volume
    );
  }

  /** Blocks that are final and have live pages: sealed everywhere, and no bytes of them in this process. */
  *settledIds(): Generator<number> {
    for (let id = 1; id < this.#next; id++) if (this.isSettled(id) && this.#live[id] > 0) yield id;
  }

  isSettled(id: number): boolean {
    return (this.#flags[id] & (flagUsed | flagSealed | flagHeldHere)) === (flagUsed | flagSealed);
  }

  liveOf(id: number): number {
    return this.#live[id];
  }

  isSealed(id: number): boolean {
    return (this.#flags[id] & flagSealed) !== 0;
  }

  /** The seal of a block the map still needs, or null. */
  sealOf(ref: BlockRef): { length: number; checksum: number } | null {
    const id = this.idOf(ref);
    if (id === 0 || !this.isSealed(id) || this.#live[id] === 0) return null;
    return { length: this.#length[id], checksum: this.#checksum[id] };
  }

  entry(id: number): TableEntry | null {
    if (!this.#used(id)) return null;
    return {
      ref: this.ref(id),
      length: this.#length[id],
      checksum: this.#checksum[id],
      live: this.#live[id],
      sealed: this.isSealed(id),
    };
  }

  /** The block's bytes are in the log window until `leave`. */
  enter(id: number): void {
    this.#flags[id] |= flagHeldHere;
  }

  /** The block is sealed and durable on all its members, and its bytes leave this process. */
  leave(id: number, length: number, checksum: number): void {
    this.#flags[id] = (this.#flags[id] | flagSealed) & ~flagHeldHere;
    this.#length[id] = length;
    this.#checksum[id] = checksum;
    this.#dirtyChunks.add(chunkOf(id));
    this.#freeIfDead(id);
  }

  /** Takes out blocks that no page points at, whatever their state (after recovery made new copies of a tail). */
  dropDead(id: number): void {
    assert(this.#live[id] === 0, "only a dead block is dropped");
    this.#drop(id);
  }

  retain(id: number): void {
    this.#live[id] += 1;
    this.#livePages += 1;
    this.#dirtyChunks.add(chunkOf(id));
  }

  release(id: number): void {
    assert(this.#live[id] > 0, "a live page is counted");
    this.#live[id] -= 1;
    this.#livePages -= 1;
    this.#dirtyChunks.add(chunkOf(id));
    this.#freeIfDead(id);
  }

  /** Numbers of chunks that changed since the last call. */
  takeDirtyChunks(): number[] {
    const chunks = [...this.#dirtyChunks].sort((a, b) => a - b);
    this.#dirtyChunks.clear();
    return chunks;
  }

  /** Ids in use, ascending. */
  *ids(): Generator<number> {
    for (let id = 1; id < this.#next; id++) if (this.#used(id)) yield id;
  }

  #used(id: number): boolean {
    return id > 0 && id < this.#next && (this.#flags[id] & flagUsed) !== 0;
  }

  #freeIfDead(id: number): void {
    if (this.#live[id] === 0 && this.isSealed(id) && (this.#flags[id] & flagHeldHere) === 0) this.#drop(id);
  }

  #drop(id: number): void {
    this.#byRef.delete(blockRefKey(this.ref(id)));
    this.#flags[id] = 0;
    this.#deaths += 1;
    this.#free.push(id);
    this.#dirtyChunks.add(chunkOf(id));
  }

  #set(id: number, ref: BlockRef, length: number, checksum: number, live: number, flags: number): void {
    this.#volume[id] = ref.volume;
    this.#epoch[id] = ref.epoch;
    this.#index[id] = ref.index;
    this.#length[id] = length;
    this.#checksum[id] = checksum;
    this.#live[id] = live;
    this.#flags[id] = flags;
    this.#byRef.set(blockRefKey(ref), id);
    this.#dirtyChunks.add(chunkOf(id));
  }

  #grow(id: number): void {
    if (id < this.#capacity) return;
    let capacity = this.#capacity;
    while (capacity <= id) capacity *= 2;
    const grown = <T extends Float64Array | Uint32Array | Uint8Array>(made: T, from: T): T => {
      made.set(from);
      return made;
    };
    this.#volume = grown(new Float64Array(capacity), this.#volume);
    this.#epoch = grown(new Float64Array(capacity), this.#epoch);
    this.#index = grown(new Float64Array(capacity), this.#index);
    this.#length = grown(new Uint32Array(capacity), this.#length);
    this.#checksum = grown(new Uint32Array(capacity), this.#checksum);
    this.#live = grown(new Uint32Array(capacity), this.#live);
    this.#flags = grown(new Uint8Array(capacity), this.#flags);
    this.#capacity = capacity;
  }
}

export function chunkOf(id: number): number {
  return Math.floor(id / tableChunkIds);
}
