// PointerTree: the interior of an INode's map or table: from the number of a leaf to where that leaf's bytes lie. Interior nodes are
// loaded when needed, changed in memory, and written again by a checkpoint along the paths that changed, so its cost is
// proportional to the change.
//
// Invariants: a node is in memory with all its children's pointers, or not at all; a node's parent is in memory if the node is.

import type { NodePointer } from "#metadata";
import { assert } from "#model";
import { decodeInterior, encodeInterior, fanOut } from "./inode-codec.ts";

/** Interior levels above the leaves: 512^3 leaves, which is 256 TiB of map. */
export const treeLevels = 3;

/** Reads and verifies the bytes a pointer leads to. */
export type ReadNode = (pointer: NodePointer) => Promise<Uint8Array>;
/** Places a new node's bytes in the INode being written. */
export type PlaceNode = (bytes: Uint8Array) => NodePointer;

interface Node {
  readonly children: Map<number, NodePointer>;
  dirty: boolean;
}

export class PointerTree {
  readonly #readNode: ReadNode;
  readonly #top: NodePointer | null;
  /** By level, 0 just above the leaves. */
  readonly #nodes: Map<number, Node>[] = Array.from({ length: treeLevels }, () => new Map());
  readonly #loading = new Map<string, Promise<Node>>();

  /** The tree whose top node is `top`; an empty one for null. */
  constructor(top: NodePointer | null, readNode: ReadNode) {
    this.#readNode = readNode;
    this.#top = top;
    if (top === null) this.#nodes[treeLevels - 1].set(0, { children: new Map(), dirty: false });
  }

  /** Where leaf `leaf` lies, null if there is none, undefined if that is not in memory yet (ask `find`). */
  pointer(leaf: number): NodePointer | null | undefined {
    const parent = this.#known(0, Math.floor(leaf / fanOut));
    if (parent === undefined) return undefined;
    return parent?.children.get(leaf % fanOut) ?? null;
  }

  /** As `pointer`, loading what it takes. */
  async find(leaf: number): Promise<NodePointer | null> {
    const node = await this.#load(0, Math.floor(leaf / fanOut));
    return node.children.get(leaf % fanOut) ?? null;
  }

  /** The lowest leaf at or after `leaf` that exists, or Infinity. */
  async next(leaf: number): Promise<number> {
    return this.#nextIn(treeLevels - 1, 0, leaf);
  }

  /** Changes where a leaf lies; its path must have been loaded (`find`). */
  set(leaf: number, pointer: NodePointer | null): void {
    let index = Math.floor(leaf / fanOut);
    const node = this.#create(0, index);
    if (pointer === null) node.children.delete(leaf % fanOut);
    else node.children.set(leaf % fanOut, pointer);
    node.dirty = true;
    for (let level = 1; level < treeLevels; level++) {
      index = Math.floor(index / fanOut);
      this.#create(level, index).dirty = true;
    }
  }

  /** Places every changed node, children before parents. Returns the pointer to the top node, null for an empty tree. */
  encodeDirty(place: PlaceNode): NodePointer | null {
    for (let level = 0; level < treeLevels - 1; level++) {
      for (const [index, node] of this.#nodes[level]) {
        if (!node.dirty) continue;
        node.dirty = false;
        const parent = this.#nodes[level + 1].get(Math.floor(index / fanOut));
        assert(parent !== undefined, "a parent is loaded");
        if (node.children.size === 0) parent.children.delete(index % fanOut);
        else parent.children.set(index % fanOut, place(encodeInterior(node.children)));
        parent.dirty = true;
      }
    }
    const top = this.#nodes[treeLevels - 1].get(0);
    if (top === undefined) return this.#top;
    if (!top.dirty && this.#lastTop !== undefined) return this.#lastTop;
    if (!top.dirty) return this.#top;
    top.dirty = false;
    this.#lastTop = top.children.size === 0 ? null : place(encodeInterior(top.children));
    return this.#lastTop;
  }

  #lastTop: NodePointer | null | undefined = undefined;

  /** A node in memory, null when it is known not to exist, undefined when that is not known. */
  #known(level: number, index: number): Node | null | undefined {
    const node = this.#nodes[level].get(index);
    if (node !== undefined) return node;
    if (level === treeLevels - 1) return undefined;
    const parent = this.#known(level + 1, Math.floor(index / fanOut));
    if (parent === null || parent === undefined) return parent;
    return parent.children.has(index % fanOut) ? undefined : null;
  }

  /** The node, loaded or made empty in memory. */
  async #load(level: number, index: number): Promise<Node> {
    const present = this.#nodes[level].get(index);
    if (present !== undefined) return present;
    const key = `${level}/${index}`;
    let loading = this.#loading.get(key);
    if (loading === undefined) {
      loading = this.#read(level, index).finally(() => this.#loading.delete(key));
      this.#loading.set(key, loading);
    }
    return loading;
  }

  async #read(level: number, index: number): Promise<Node> {
    let pointer = this.#top;
    if (level < treeLevels - 1) {
      const parent = await this.#load(level + 1, Math.floor(index / fanOut));
      pointer = parent.children.get(index % fanOut) ?? null;
    }
    const children =
      pointer === null ? new Map<number, NodePointer>() : decodeInterior(await this.#readNode(pointer));
    // `set` may have made the node meanwhile, but only below a parent that had no child there.
    const present = this.#nodes[level].get(index);
    if (present !== undefined) return present;
    const node = { children, dirty: false };
    this.#nodes[level].set(index, node);
    return node;
  }

  #create(level: number, index: number): Node {
    let node = this.#nodes[level].get(index);
    if (node === undefined) {
      assert(this.#known(level, index) === null, "a path is loaded before it is changed");
      node = { children: new Map(), dirty: false };
      this.#nodes[level].set(index, node);
    }
    return node;
  }

  async #nextIn(level: number, index: number, leaf: number): Promise<number> {
    const span = fanOut ** level;
    const node = await this.#load(level, index);
    const base = index * span * fanOut;
    const slots = [...node.children.keys()].sort((a, b) => a - b);
    for (const slot of slots) {
      const first = base + slot * span;
      if (first + span <= leaf) continue;
      if (level === 0) return first;
      const found = await this.#nextIn(level - 1, index * fanOut + slot, leaf);
      if (found !== Number.POSITIVE_INFINITY) return found;
    }
    return Number.POSITIVE_INFINITY;
  }
}
