// NeededBlocks: every block that some INodes need: the data blocks their tables count live pages in, and the blocks of type inode
// their nodes lie in. Leaves of the map need not be read: the nodes above say where they are.
//
// Invariants: `walk` resolves only when every node of every root was read and verified, now or by an earlier walk; whatever is
// missing, damaged or contradicts itself rejects, so that nobody takes half a list for a whole one [C6].
// INodes share trees, and bytes at a pointer never change: what a node said is remembered, within a bound, and not read again.

import type { NodePointer } from "#metadata";
import type { BlockRef } from "#model";
import { blockRefKey, TorusError } from "#model";
import { tableChunkIds } from "./block-table.ts";
import { decodeInterior, decodeRoot, decodeTableChunk } from "./inode-codec.ts";
import type { ReadNode } from "./pointer-tree.ts";
import { treeLevels } from "./pointer-tree.ts";

/** Called once or more for each needed block. */
export type NoteNeeded = (ref: BlockRef) => void;

/** A node is of the map's or the table's tree at a level (0 just above the leaves), or a chunk of the table. */
interface Place {
  readonly tree: "map" | "table";
  /** -1: a chunk. */
  readonly level: number;
}

/** What a node says. */
interface Known {
  /** Type, volume, epoch, index of each block it names, without repeats. */
  readonly refs: Float64Array;
  /** Nodes to visit below it. */
  readonly children: readonly NodePointer[];
  /** Pages its own entries count as live: chunks only. */
  readonly ownPages: number;
  readonly bytes: number;
  /** The last walk that visited all below it. */
  walk: number;
  /** Live pages counted by all chunks below it, as of that walk. */
  pages: number;
}

const numbersPerRef = 4;
const childBytes = 200;
const knownBytes = 300;
/** Nodes of one parent that are read at once. */
const readsAtOnce = 8;

export class NeededBlocks {
  readonly #bytesMax: number;
  /** In order of the last visit. */
  readonly #known = new Map<string, Known>();
  #bytes = 0;
  #walk = 0;
  #reads = 0;

  constructor(options: { readonly cacheBytesMax: number }) {
    this.#bytesMax = options.cacheBytesMax;
  }

  /** Nodes read so far. */
  get reads(): number {
    return this.#reads;
  }

  /** Calls `note` for every block the INodes at `roots` need. `readNode` verifies. One walk at a time. */
  async walk(roots: readonly NodePointer[], readNode: ReadNode, note: NoteNeeded): Promise<void> {
    this.#walk += 1;
    const walk = { number: this.#walk, readNode, note };
    for (const root of roots) await this.#visitRoot(root, walk);
  }

  async #visitRoot(pointer: NodePointer, walk: Walk): Promise<void> {
    walk.note(pointer.ref);
    this.#reads += 1;
    const root = decodeRoot(await walk.readNode(pointer));
    const top = treeLevels - 1;
    if (root.map !== null) await this.#visitChild(root.map, { tree: "map", level: top }, walk);
    const pages =
      root.table === null ? 0 : await this.#visitChild(root.table, { tree: "table", level: top }, walk);
    if (pages !== root.livePages) {
      throw new TorusError(
        "corrupt",
        `the INode at ${blockRefKey(pointer.ref)} counts ${root.livePages} pages and its block table ${pages}`,
      );
    }
  }

  /** The block of a node, and all below it; the live pages counted there. */
  async #visitChild(pointer: NodePointer, place: Place, walk: Walk): Promise<number> {
    walk.note(pointer.ref);
    const key = nodeKey(pointer);
    const before = this.#known.get(key);
    if (before !== undefined && before.walk === walk.number) return before.pages;
    const known = before ?? (await this.#read(pointer, place, walk.readNode));
    noteAll(known.refs, walk.note);
    let pages = known.ownPages;
    const below = { tree: place.tree, level: place.level - 1 };
    for (let start = 0; start < known.children.length; start += readsAtOnce) {
      const some = known.children.slice(start, start + readsAtOnce);
      const counts = await Promise.all(some.map((child) => this.#visitChild(child, below, walk)));
      for (const count of counts) pages += count;
    }
    // Not the newest walk's number: this one may have failed elsewhere long ago, and another be under way.
    known.walk = walk.number;
    known.pages = pages;
    this.#keep(key, known);
    return pages;
  }

  async #read(pointer: NodePointer, place: Place, readNode: ReadNode): Promise<Known> {
    this.#reads += 1;
    const bytes = await readNode(pointer);
    return place.level === -1 ? knownChunk(bytes) : knownInterior(bytes, place);
  }

  /** Remembers what was visited now; what was not visited for longest goes first, and nothing of this walk does. */
  #keep(key: string, known: Known): void {
    if (this.#known.delete(key)) this.#bytes -= known.bytes;
    for (const [oldest, other] of this.#known) {
      if (this.#bytes + known.bytes <= this.#bytesMax || other.walk === this.#walk) break;
      this.#known.delete(oldest);
      this.#bytes -= other.bytes;
    }
    if (this.#bytes + known.bytes > this.#bytesMax) return;
    this.#known.set(key, known);
    this.#bytes += known.bytes;
  }
}

interface Walk {
  readonly number: number;
  readonly readNode: ReadNode;
  readonly note: NoteNeeded;
}

/** Tells nodes apart: bytes at a pointer never change. */
export function nodeKey({ ref, offset, length, checksum }: NodePointer): string {
  return `${blockRefKey(ref)}.${offset}.${length}.${checksum}`;
}

function noteAll(refs: Float64Array, note: NoteNeeded): void {
  for (let at = 0; at < refs.length; at += numbersPerRef)
    note({ type: refs[at], volume: refs[at + 1], epoch: refs[at + 2], index: refs[at + 3] });
}

function knownChunk(bytes: Uint8Array): Known {
  const refs: BlockRef[] = [];
  let pages = 0;
  for (const entry of decodeTableChunk(bytes, tableChunkIds).values()) {
    if (entry.live === 0) continue;
    refs.push(entry.ref);
    pages += entry.live;
  }
  return makeKnown(refs, [], pages);
}

/** The nodes just above the leaves of the map name the blocks of leaves, which are not visited themselves. */
function knownInterior(bytes: Uint8Array, { tree, level }: Place): Known {
  const pointers = [...decodeInterior(bytes).values()];
  const distinct = new Map(pointers.map(({ ref }) => [blockRefKey(ref), ref]));
  return makeKnown([...distinct.values()], tree === "map" && level === 0 ? [] : pointers, 0);
}

function makeKnown(refs: readonly BlockRef[], children: readonly NodePointer[], ownPages: number): Known {
  const numbers = new Float64Array(refs.length * numbersPerRef);
  for (const [i, { type, volume, epoch, index }] of refs.entries())
    numbers.set([type, volume, epoch, index], i * numbersPerRef);
  const bytes = knownBytes + numbers.byteLength + children.length * childBytes;
  return { refs: numbers, children, ownPages, bytes, walk: 0, pages: 0 };
}
