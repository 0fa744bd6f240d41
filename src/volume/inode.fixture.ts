// A volume's map and table without a log, for tests of INodes: pages are put into blocks that are taken as written, and a
// checkpoint's nodes go into a Map. `bruteForce` opens a whole INode, leaf by leaf.

import type { NodePointer } from "#metadata";
import type { BlockRef } from "#model";
import { blockRefKey, crc32, pageBytes, TorusError } from "#model";
import type { TableEntry } from "./block-table.ts";
import { BlockTable, tableChunkIds } from "./block-table.ts";
import { ExtentMap } from "./extent-map.ts";
import {
  decodeInterior,
  decodeLeaf,
  decodeRoot,
  decodeTableChunk,
  encodeRoot,
  encodeTableChunk,
  leafPages,
} from "./inode-codec.ts";
import { PointerTree, treeLevels } from "./pointer-tree.ts";

const blockPages = 16;
const blockBytes = 64 * 1024;

/** Where the nodes of all INodes of a test lie. */
export class NodeShelf {
  readonly #nodes = new Map<string, Uint8Array>();

  put(pointer: NodePointer, bytes: Uint8Array): void {
    this.#nodes.set(keyOf(pointer), bytes);
  }

  lose(pointer: NodePointer): void {
    this.#nodes.delete(keyOf(pointer));
  }

  readonly read = async (pointer: NodePointer): Promise<Uint8Array> => {
    const bytes = this.#nodes.get(keyOf(pointer));
    if (bytes === undefined || crc32(bytes) !== pointer.checksum)
      throw new TorusError("corrupt", `there is no node at ${keyOf(pointer)}`);
    return bytes;
  };
}

function keyOf({ ref, offset }: NodePointer): string {
  return `${blockRefKey(ref)}+${offset}`;
}

export class InodeSketch {
  readonly table = new BlockTable();
  readonly #shelf: NodeShelf;
  readonly #map: ExtentMap;
  readonly #tableTree: PointerTree;
  readonly #volume: number;
  #dataIndex = 0;
  #inodeIndex = 0;
  #checkpoints = 0;

  constructor(volume: number, shelf: NodeShelf) {
    this.#volume = volume;
    this.#shelf = shelf;
    const options = { top: null, cacheBytes: 2 ** 30 };
    this.#map = new ExtentMap(options, { table: this.table, readNode: shelf.read });
    this.#tableTree = new PointerTree(null, shelf.read);
  }

  /** One block with these pages, at most 16; the last page of the same number counts. */
  write(pages: readonly number[]): void {
    this.#dataIndex += 1;
    const id = this.table.add({ type: 0, volume: this.#volume, epoch: 1, index: this.#dataIndex });
    this.table.enter(id);
    for (const [i, page] of pages.slice(0, blockPages).entries()) this.#map.set(page, id, i, page);
    this.table.leave(id, pages.length * pageBytes, 1);
  }

  trim(page: number): void {
    this.#map.set(page, 0, 0, 0);
  }

  /** The root of an INode of the map as it is. */
  checkpoint(): NodePointer {
    let block: { ref: BlockRef; length: number } | null = null;
    const place = (bytes: Uint8Array): NodePointer => {
      if (block === null || block.length + bytes.length > blockBytes) {
        this.#inodeIndex += 1;
        block = { ref: { type: 1, volume: this.#volume, epoch: 1, index: this.#inodeIndex }, length: 0 };
      }
      const pointer = { ref: block.ref, offset: block.length, length: bytes.length, checksum: crc32(bytes) };
      block.length += bytes.length;
      this.#shelf.put(pointer, bytes);
      return pointer;
    };
    this.#checkpoints += 1;
    const map = this.#map.encodeDirty(this.#checkpoints, place);
    for (const chunk of this.table.takeDirtyChunks()) {
      const entries = new Map<number, TableEntry>();
      for (let slot = 0; slot < tableChunkIds; slot++) {
        const entry = this.table.entry(chunk * tableChunkIds + slot);
        if (entry !== null) entries.set(slot, entry);
      }
      this.#tableTree.set(chunk, entries.size === 0 ? null : place(encodeTableChunk(entries)));
    }
    const table = this.#tableTree.encodeDirty(place);
    return place(encodeRoot({ sizeBytes: pageBytes, livePages: this.table.livePages, map, table }));
  }
}

/** Names of every block the INode at `root` leads to, by reading all of it: the blocks of all its nodes, and of all its pages. */
export async function bruteForce(
  root: NodePointer,
  read: (pointer: NodePointer) => Promise<Uint8Array>,
): Promise<Set<string>> {
  const found = new Set<string>();
  const node = (pointer: NodePointer): Promise<Uint8Array> => {
    found.add(blockRefKey(pointer.ref));
    return read(pointer);
  };
  await everyPage(root, node, (_page, ref) => found.add(blockRefKey(ref)));
  return found;
}

/** The place of every page that the INode at `root` maps, by reading all of it. */
export async function everyPlace(
  root: NodePointer,
  read: (pointer: NodePointer) => Promise<Uint8Array>,
): Promise<Map<number, string>> {
  const places = new Map<number, string>();
  await everyPage(root, read, (page, ref, offset) => places.set(page, `${blockRefKey(ref)}+${offset}`));
  return places;
}

async function everyPage(
  root: NodePointer,
  node: (pointer: NodePointer) => Promise<Uint8Array>,
  onPage: (page: number, ref: BlockRef, offset: number) => void,
): Promise<void> {
  const descend = async (
    pointer: NodePointer | null,
    level: number,
    slot: number,
    bottom: (bytes: Uint8Array, slot: number) => void,
  ): Promise<void> => {
    if (pointer === null) return;
    const bytes = await node(pointer);
    if (level < 0) bottom(bytes, slot);
    else
      for (const [at, child] of decodeInterior(bytes))
        await descend(child, level - 1, slot * 512 + at, bottom);
  };
  const { map, table } = decodeRoot(await node(root));
  const refs = new Map<number, BlockRef>();
  await descend(table, treeLevels - 1, 0, (bytes, chunk) => {
    for (const [slot, entry] of decodeTableChunk(bytes, tableChunkIds))
      refs.set(chunk * tableChunkIds + slot, entry.ref);
  });
  await descend(map, treeLevels - 1, 0, (bytes, index) => {
    const leaf = {
      ids: new Uint32Array(leafPages),
      offsets: new Uint16Array(leafPages),
      checksums: new Uint32Array(leafPages),
    };
    decodeLeaf(bytes, leaf);
    for (const [slot, id] of leaf.ids.entries())
      if (id !== 0) onPage(index * leafPages + slot, refs.get(id) as BlockRef, leaf.offsets[slot]);
  });
}
