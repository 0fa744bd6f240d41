// Encodes what changed of a map and its block table since the last time, and a root: an INode, of which all else is shared with the one before. In one turn,
// so that it is of one moment.

import type { NodePointer } from "#metadata";
import type { BlockTable, TableEntry } from "./block-table.ts";
import { tableChunkIds } from "./block-table.ts";
import type { OpenInode } from "./inode.ts";
import { encodeRoot, encodeTableChunk } from "./inode-codec.ts";
import type { PlaceNode, PointerTree } from "./pointer-tree.ts";

export interface ChangedInode extends OpenInode {
  readonly table: BlockTable;
}

/** `number`: of this checkpoint, for the map. Every changed leaf must be whole. */
export function encodeInode(
  { map, table, tableTree }: ChangedInode,
  sizeBytes: number,
  number: number,
  place: PlaceNode,
): NodePointer {
  const top = map.encodeDirty(number, place);
  const tableTop = encodeTable(table, tableTree, place);
  return place(encodeRoot({ sizeBytes, livePages: table.livePages, map: top, table: tableTop }));
}

function encodeTable(table: BlockTable, tree: PointerTree, place: PlaceNode): NodePointer | null {
  for (const chunk of table.takeDirtyChunks()) {
    const entries = new Map<number, TableEntry>();
    for (let slot = 0; slot < tableChunkIds; slot++) {
      const entry = table.entry(chunk * tableChunkIds + slot);
      if (entry !== null) entries.set(slot, entry);
    }
    tree.set(chunk, entries.size === 0 ? null : place(encodeTableChunk(entries)));
  }
  return tree.encodeDirty(place);
}
