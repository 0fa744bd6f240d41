// ExtentMap: for each page of a volume the block and page in it that has its bytes, and their checksum. Leaves of 512 pages are loaded
// when touched and dropped when clean, so memory follows use, not the volume's size.
//
// Invariants:
// - A leaf in memory may be *unloaded*: only pages written since are known (the rest is `unknownId`); loading fills
//   those in and never touches a page written meanwhile.
// - The table's live counts follow every change; for a page overwritten in an unloaded leaf the old place is released at loading.
// - A dirty leaf, and one whose checkpoint is not committed yet, is never dropped.

import type { NodePointer } from "#metadata";
import { assert } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { LeafArrays } from "./inode-codec.ts";
import { decodeLeaf, encodeLeaf, leafPages } from "./inode-codec.ts";
import type { PageRange } from "./map-difference.ts";
import type { PlaceNode, ReadNode } from "./pointer-tree.ts";
import { PointerTree } from "./pointer-tree.ts";

export const unknownId = 0xffffffff;

export interface Leaf extends LeafArrays {
  readonly index: number;
  loaded: boolean;
  dirty: boolean;
  loading: Promise<void> | null;
  /** The checkpoint that wrote it last, 0 for none by this process. */
  checkpoint: number;
}

/** One leaf in memory, arrays and bookkeeping. */
export const leafMemoryBytes = leafPages * 10 + 512;

export class ExtentMap {
  readonly #table: BlockTable;
  readonly #tree: PointerTree;
  readonly #readNode: ReadNode;
  readonly #leavesMax: number;
  /** In order of use, oldest first. */
  readonly #leaves = new Map<number, Leaf>();
  readonly #dirty = new Set<Leaf>();
  #committedCheckpoint = 0;

  constructor(
    options: { readonly top: NodePointer | null; readonly cacheBytes: number },
    deps: { readonly table: BlockTable; readonly readNode: ReadNode },
  ) {
    this.#table = deps.table;
    this.#readNode = deps.readNode;
    this.#tree = new PointerTree(options.top, deps.readNode);
    this.#leavesMax = Math.max(16, Math.floor(options.cacheBytes / leafMemoryBytes));
  }

  get dirtyLeaves(): number {
    return this.#dirty.size;
  }

  get leavesLoaded(): number {
    return this.#leaves.size;
  }

  /** The loads of changed leaves that are not whole yet, or null when there are none: a checkpoint waits for them. */
  loads(): Promise<unknown> | null {
    const pending: Promise<void>[] = [];
    for (const leaf of this.#dirty) if (!leaf.loaded) pending.push(this.#startLoad(leaf));
    return pending.length === 0 ? null : Promise.all(pending);
  }

  /** The leaf of `page` if every page of it is known now, else null (await `load`). A hole gives a leaf of zeroes. */
  leafNow(page: number): Leaf | null {
    const index = Math.floor(page / leafPages);
    const leaf = this.#leaves.get(index);
    if (leaf !== undefined) return leaf.loaded ? leaf : null;
    return this.#tree.pointer(index) === null ? holeLeaf : null;
  }

  /** The leaf of `page`, loaded. */
  async load(page: number): Promise<Leaf> {
    const index = Math.floor(page / leafPages);
    for (;;) {
      const leaf = this.#leaves.get(index);
      if (leaf?.loaded) {
        this.#touch(leaf);
        return leaf;
      }
      if (leaf === undefined && this.#tree.pointer(index) === null) return holeLeaf;
      await this.#startLoad(leaf ?? this.#make(index, false));
    }
  }

  /** The page's place is (id, offset) from now on; id 0 makes it a hole. */
  set(page: number, id: number, offset: number, checksum: number): void {
    this.setIn(this.changeLeaf(page), page % leafPages, id, offset, checksum);
  }

  /** The leaf of `page`, to be changed in this turn by `setIn`; maybe not loaded. */
  changeLeaf(page: number): Leaf {
    return this.#forChange(Math.floor(page / leafPages));
  }

  /** As `set`, in a leaf from `changeLeaf`. */
  setIn(leaf: Leaf, slot: number, id: number, offset: number, checksum: number): void {
    const old = leaf.ids[slot];
    if (id !== 0) this.#table.retain(id);
    if (old !== 0 && old !== unknownId) this.#table.release(old);
    leaf.ids[slot] = id;
    leaf.offsets[slot] = offset;
    leaf.checksums[slot] = checksum;
  }

  /** Pages [first, first + count), all of one leaf, become holes. The leaf must be known (`leafNow`) or made so. */
  clear(first: number, count: number): void {
    const index = Math.floor(first / leafPages);
    if (!this.#leaves.has(index) && this.#tree.pointer(index) === null) return;
    const leaf = this.#forChange(index);
    for (let page = first; page < first + count; page++) this.setIn(leaf, page % leafPages, 0, 0, 0);
  }

  /** The first page at or after `page` whose leaf may have content, or Infinity: to skip holes quickly. */
  async nextMapped(page: number): Promise<number> {
    const index = Math.floor(page / leafPages);
    let found = await this.#tree.next(index);
    for (const leaf of this.#dirty) if (leaf.index >= index && leaf.index < found) found = leaf.index;
    return found === index ? page : found * leafPages;
  }

  /**
   * Places all dirty leaves and the interior nodes above them; returns the pointer to the top node. Synchronous: the result is the map as of
   * one log position. No leaf may be loading that is dirty (`loads`).
   */
  encodeDirty(checkpoint: number, place: PlaceNode): NodePointer | null {
    for (const leaf of this.#dirty) {
      assert(leaf.loaded, "a checkpoint has whole leaves");
      const empty = leaf.ids.every((id) => id === 0);
      this.#tree.set(leaf.index, empty ? null : place(encodeLeaf(leaf)));
      leaf.dirty = false;
      leaf.checkpoint = checkpoint;
    }
    this.#dirty.clear();
    return this.#tree.encodeDirty(place);
  }

  /** The leaves, in ascending order, that are not what the last committed checkpoint has: as ranges of pages, within [first, end). */
  changedLeaves(first: number, end: number): PageRange[] {
    const changed: number[] = [];
    for (const [index, leaf] of this.#leaves) {
      if (index * leafPages >= end || (index + 1) * leafPages <= first) continue;
      if (leaf.dirty || leaf.checkpoint > this.#committedCheckpoint) changed.push(index);
    }
    return changed.sort((a, b) => a - b).map((index) => ({ first: index * leafPages, count: leafPages }));
  }

  /** Leaves written by `checkpoint` or before may be dropped and read again from now on. */
  committed(checkpoint: number): void {
    this.#committedCheckpoint = checkpoint;
    this.#evict();
  }

  #forChange(index: number): Leaf {
    let leaf = this.#leaves.get(index);
    if (leaf === undefined) leaf = this.#make(index, this.#tree.pointer(index) === null);
    else this.#touch(leaf);
    if (!leaf.dirty) {
      leaf.dirty = true;
      this.#dirty.add(leaf);
    }
    if (!leaf.loaded && leaf.loading === null) void this.#startLoad(leaf);
    return leaf;
  }

  #make(index: number, loaded: boolean): Leaf {
    const memory = new ArrayBuffer(leafPages * 10);
    const leaf: Leaf = {
      index,
      ids: new Uint32Array(memory, 0, leafPages),
      checksums: new Uint32Array(memory, leafPages * 4, leafPages),
      offsets: new Uint16Array(memory, leafPages * 8, leafPages),
      loaded,
      dirty: false,
      loading: null,
      checkpoint: 0,
    };
    if (!loaded) leaf.ids.fill(unknownId);
    // Room is made before the leaf is in: it is clean yet, and must not be dropped under whoever is about to change it.
    this.#evict();
    this.#leaves.set(index, leaf);
    return leaf;
  }

  #startLoad(leaf: Leaf): Promise<void> {
    if (leaf.loading === null) {
      const loading = this.#fill(leaf).finally(() => {
        leaf.loading = null;
      });
      leaf.loading = loading;
      // Whoever needs the leaf awaits it and sees the error; without this a load nobody awaits would be unhandled.
      loading.catch(() => {});
    }
    return leaf.loading as Promise<void>;
  }

  async #fill(leaf: Leaf): Promise<void> {
    const pointer = await this.#tree.find(leaf.index);
    const stored: LeafArrays = {
      ids: new Uint32Array(leafPages),
      offsets: new Uint16Array(leafPages),
      checksums: new Uint32Array(leafPages),
    };
    if (pointer !== null) decodeLeaf(await this.#readNode(pointer), stored);
    for (let slot = 0; slot < leafPages; slot++) {
      if (leaf.ids[slot] === unknownId) {
        leaf.ids[slot] = stored.ids[slot];
        leaf.offsets[slot] = stored.offsets[slot];
        leaf.checksums[slot] = stored.checksums[slot];
      } else if (stored.ids[slot] !== 0) this.#table.release(stored.ids[slot]);
    }
    leaf.loaded = true;
  }

  #touch(leaf: Leaf): void {
    // Order of use matters only once leaves must go.
    if (this.#leaves.size < this.#leavesMax * 0.75) return;
    this.#leaves.delete(leaf.index);
    this.#leaves.set(leaf.index, leaf);
  }

  #evict(): void {
    if (this.#leaves.size <= this.#leavesMax) return;
    let excess = this.#leaves.size - this.#leavesMax;
    for (const [index, leaf] of this.#leaves) {
      if (excess === 0) return;
      if (!leaf.loaded || leaf.dirty || leaf.checkpoint > this.#committedCheckpoint) continue;
      this.#leaves.delete(index);
      excess -= 1;
    }
  }
}

/** What a leaf that does not exist reads as. Never changed. */
const holeLeaf: Leaf = {
  index: -1,
  ids: new Uint32Array(leafPages),
  offsets: new Uint16Array(leafPages),
  checksums: new Uint32Array(leafPages),
  loaded: true,
  dirty: false,
  loading: null,
  checkpoint: 0,
};
