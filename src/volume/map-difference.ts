// MapDifference: the pages whose place differs between two INodes, or, against nothing, all that are mapped. Both trees are walked together
// and subtrees with the same pointer are passed over, so the cost is that of the change, not of the volume.
//
// Invariants:
// - Bytes at a place never change: a page that is not reported reads the same in both. The reverse does not hold: a page that was
//   written with what it had, or moved by the cleaner, is reported too.
// - The same pointer stands for the same places. A leaf names blocks by ids of its INode's block table; whoever kept the leaf took over its INode's
//   table with it, and an id is not given again while a leaf has it. Leaves that differ may mean different blocks by one id: there
//   both tables are asked.
//
// Memory: `leavesAtOnce` pairs of leaves for each call, some interior nodes, and chunks of the tables that changed, all bounded.

import type { NodePointer } from "#metadata";
import { blockRefKey, TorusError } from "#model";
import { chunkOf, tableChunkIds } from "./block-table.ts";
import type { InodeRoot, LeafArrays } from "./inode-codec.ts";
import {
  decodeInterior,
  decodeLeaf,
  decodeRoot,
  decodeTableChunk,
  fanOut,
  leafPages,
} from "./inode-codec.ts";
import type { ReadNode } from "./pointer-tree.ts";
import { treeLevels } from "./pointer-tree.ts";

export interface PageRange {
  readonly first: number;
  readonly count: number;
}

/** What is known up to some page. */
export interface DifferencePart {
  /** Ascending, apart from each other. */
  readonly ranges: readonly PageRange[];
  /** Every difference below this page, from the one asked for on, is in `ranges`. Infinity: there are no more. */
  readonly end: number;
}

export interface MapDifferenceOptions {
  /** Roots of INodes; null: nothing is mapped. */
  readonly from: NodePointer | null;
  readonly to: NodePointer | null;
}

/** Pairs of leaves that are read together: 32 MiB of a volume. */
const leavesAtOnce = 16;
/** Interior nodes that are remembered, about 100 KiB each when full. */
const interiorsMax = 24;
/** Chunks of tables that are remembered, about 3 KiB each. */
const chunksMax = 4096;

/** The two sides' pointers to nodes of one place, which differ. */
interface NodePair {
  readonly from: NodePointer | null;
  readonly to: NodePointer | null;
}

interface LeafPair extends NodePair {
  readonly index: number;
}

const emptyRoot: InodeRoot = { sizeBytes: 0, livePages: 0, map: null, table: null };

export class MapDifference {
  readonly #options: MapDifferenceOptions;
  readonly #readNode: ReadNode;
  readonly #interiors = new NodeMemory<Map<number, NodePointer>>(interiorsMax);
  readonly #chunks = new NodeMemory<ChunkRefs>(chunksMax);
  #roots: Promise<{ readonly from: InodeRoot; readonly to: InodeRoot }> | null = null;
  #reads = 0;

  /** `readNode` verifies. */
  constructor(options: MapDifferenceOptions, deps: { readonly readNode: ReadNode }) {
    this.#options = options;
    this.#readNode = (pointer) => {
      this.#reads += 1;
      return deps.readNode(pointer);
    };
  }

  /** Nodes read so far. */
  get reads(): number {
    return this.#reads;
  }

  /** The next differences at or after `page`. Any number of calls may be under way. Rejects with what reading met. */
  async after(page: number): Promise<DifferencePart> {
    const { from, to } = await this.#openRoots();
    const top = { from: from.map, to: to.map };
    const leaves = samePointer(top.from, top.to)
      ? []
      : await this.#leavesIn(top, treeLevels - 1, 0, Math.floor(page / leafPages));
    if (leaves.length === 0) return { ranges: [], end: Number.POSITIVE_INFINITY };
    const runs = await Promise.all(leaves.map((leaf) => this.#compare(leaf)));
    const end = (leaves[leaves.length - 1].index + 1) * leafPages;
    return { ranges: joined(runs.flat(), page), end };
  }

  #openRoots(): Promise<{ readonly from: InodeRoot; readonly to: InodeRoot }> {
    this.#roots ??= this.#readRoots().catch((error: unknown) => {
      this.#roots = null;
      throw error;
    });
    return this.#roots;
  }

  async #readRoots(): Promise<{ readonly from: InodeRoot; readonly to: InodeRoot }> {
    const { from, to } = this.#options;
    if (samePointer(from, to)) return { from: emptyRoot, to: emptyRoot };
    const read = async (pointer: NodePointer | null): Promise<InodeRoot> =>
      pointer === null ? emptyRoot : decodeRoot(await this.#readNode(pointer));
    const [fromRoot, toRoot] = await Promise.all([read(from), read(to)]);
    return { from: fromRoot, to: toRoot };
  }

  /** The first leaves at or after `leaf` that differ, all below one node; `pair` is at `level` (0 just above leaves) and `index`. */
  async #leavesIn(pair: NodePair, level: number, index: number, leaf: number): Promise<LeafPair[]> {
    const [from, to] = await Promise.all([this.#children(pair.from), this.#children(pair.to)]);
    const span = fanOut ** level;
    const found: LeafPair[] = [];
    for (let slot = 0; slot < fanOut && found.length < leavesAtOnce; slot++) {
      const child = index * fanOut + slot;
      if ((child + 1) * span <= leaf) continue;
      const below = { from: from.get(slot) ?? null, to: to.get(slot) ?? null };
      if (samePointer(below.from, below.to)) continue;
      if (level === 0) found.push({ ...below, index: child });
      else {
        const leaves = await this.#leavesIn(below, level - 1, child, leaf);
        if (leaves.length > 0) return leaves;
      }
    }
    return found;
  }

  async #children(pointer: NodePointer | null): Promise<ReadonlyMap<number, NodePointer>> {
    if (pointer === null) return new Map();
    return this.#interiors.get(pointer, async () => decodeInterior(await this.#readNode(pointer)));
  }

  /** The pages of a leaf that differ. */
  async #compare(pair: LeafPair): Promise<PageRange[]> {
    const [from, to] = await Promise.all([this.#leaf(pair.from), this.#leaf(pair.to)]);
    const isOther = new Uint8Array(leafPages);
    const doubtful = new Map<string, { readonly fromId: number; readonly toId: number }>();
    for (let slot = 0; slot < leafPages; slot++) {
      const fromId = from.ids[slot];
      const toId = to.ids[slot];
      if (fromId === 0 && toId === 0) continue;
      if (fromId === 0 || toId === 0 || isElsewhere(from, to, slot)) isOther[slot] = 1;
      else doubtful.set(`${fromId}/${toId}`, { fromId, toId });
    }
    const pairs = [...doubtful];
    const same = await Promise.all(pairs.map(([, { fromId, toId }]) => this.#isOneBlock(fromId, toId)));
    const others = new Set(pairs.filter((_, i) => !same[i]).map(([key]) => key));
    if (others.size > 0) {
      for (let slot = 0; slot < leafPages; slot++)
        if (others.has(`${from.ids[slot]}/${to.ids[slot]}`)) isOther[slot] = 1;
    }
    return rangesOf(isOther, pair.index * leafPages);
  }

  async #leaf(pointer: NodePointer | null): Promise<LeafArrays> {
    const leaf = {
      ids: new Uint32Array(leafPages),
      offsets: new Uint16Array(leafPages),
      checksums: new Uint32Array(leafPages),
    };
    if (pointer !== null) decodeLeaf(await this.#readNode(pointer), leaf);
    return leaf;
  }

  /** Whether the one table means by `fromId` what the other means by `toId`. */
  async #isOneBlock(fromId: number, toId: number): Promise<boolean> {
    const roots = await this.#openRoots();
    const [from, to] = await Promise.all([
      this.#chunkPointer(roots.from, fromId),
      this.#chunkPointer(roots.to, toId),
    ]);
    if (fromId === toId && samePointer(from, to)) return true;
    const [fromRefs, toRefs] = await Promise.all([this.#chunk(from), this.#chunk(to)]);
    return fromRefs.sameBlock(fromId % tableChunkIds, toRefs, toId % tableChunkIds);
  }

  async #chunkPointer(root: InodeRoot, id: number): Promise<NodePointer> {
    const chunk = chunkOf(id);
    let pointer = root.table;
    for (let level = treeLevels - 1; level >= 0 && pointer !== null; level--) {
      const children = await this.#children(pointer);
      pointer = children.get(Math.floor(chunk / fanOut ** level) % fanOut) ?? null;
    }
    if (pointer === null)
      throw new TorusError("corrupt", `the map of an INode names block id ${id}, which its table has not`);
    return pointer;
  }

  #chunk(pointer: NodePointer): Promise<ChunkRefs> {
    return this.#chunks.get(pointer, async () => new ChunkRefs(await this.#readNode(pointer)));
  }
}

/** The refs of a chunk of a block table. */
class ChunkRefs {
  /** Volume, epoch, index; volume 0: no entry. */
  readonly #numbers = new Float64Array(tableChunkIds * 3);

  constructor(bytes: Uint8Array) {
    for (const [slot, { ref }] of decodeTableChunk(bytes, tableChunkIds))
      this.#numbers.set([ref.volume, ref.epoch, ref.index], slot * 3);
  }

  sameBlock(slot: number, other: ChunkRefs, otherSlot: number): boolean {
    const a = this.#numbers.subarray(slot * 3, slot * 3 + 3);
    const b = other.#numbers.subarray(otherSlot * 3, otherSlot * 3 + 3);
    if (a[0] === 0 || b[0] === 0)
      throw new TorusError("corrupt", "the map of an INode names a block that its table has not");
    return a[0] === b[0] && a[1] === b[1] && a[2] === b[2];
  }
}

/** Nodes by their pointers, those used last. One that is being read is read once. */
class NodeMemory<Node> {
  readonly #max: number;
  readonly #nodes = new Map<string, Promise<Node>>();

  constructor(max: number) {
    this.#max = max;
  }

  get(pointer: NodePointer, read: () => Promise<Node>): Promise<Node> {
    const key = keyOf(pointer);
    const present = this.#nodes.get(key);
    const node = present ?? read();
    this.#nodes.delete(key);
    this.#nodes.set(key, node);
    if (present !== undefined) return present;
    node.catch(() => {
      if (this.#nodes.get(key) === node) this.#nodes.delete(key);
    });
    if (this.#nodes.size > this.#max) {
      for (const oldest of this.#nodes.keys()) {
        this.#nodes.delete(oldest);
        break;
      }
    }
    return node;
  }
}

/** Names a node. */
export function keyOf({ ref, offset }: NodePointer): string {
  return `${blockRefKey(ref)}.${offset}`;
}

function samePointer(a: NodePointer | null, b: NodePointer | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.offset === b.offset &&
    a.length === b.length &&
    a.checksum === b.checksum &&
    a.ref.type === b.ref.type &&
    a.ref.volume === b.ref.volume &&
    a.ref.epoch === b.ref.epoch &&
    a.ref.index === b.ref.index
  );
}

/** Whatever blocks the ids mean. */
function isElsewhere(from: LeafArrays, to: LeafArrays, slot: number): boolean {
  return from.offsets[slot] !== to.offsets[slot] || from.checksums[slot] !== to.checksums[slot];
}

function rangesOf(isOther: Uint8Array, base: number): PageRange[] {
  const ranges: PageRange[] = [];
  for (let slot = 0; slot < isOther.length; slot++) {
    if (isOther[slot] === 0) continue;
    const first = slot;
    while (slot + 1 < isOther.length && isOther[slot + 1] === 1) slot += 1;
    ranges.push({ first: base + first, count: slot + 1 - first });
  }
  return ranges;
}

/** Without what lies before `page`; ranges that touch become one. */
function joined(ranges: readonly PageRange[], page: number): PageRange[] {
  const made: { first: number; count: number }[] = [];
  for (const range of ranges) {
    const first = Math.max(range.first, page);
    const count = range.first + range.count - first;
    if (count <= 0) continue;
    const last = made.at(-1);
    if (last !== undefined && last.first + last.count === first) last.count += count;
    else made.push({ first, count });
  }
  return made;
}
