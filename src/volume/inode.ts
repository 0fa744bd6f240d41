// Opens an INode: its root, the whole block table, and the map, whose nodes are read as they are needed.

import type { Reader } from "#distributor";
import type { NodePointer } from "#metadata";
import { assert, crc32, TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import { tableChunkIds } from "./block-table.ts";
import { ExtentMap } from "./extent-map.ts";
import { decodeRoot, decodeTableChunk } from "./inode-codec.ts";
import type { ReadNode } from "./pointer-tree.ts";
import { PointerTree } from "./pointer-tree.ts";

export interface OpenInode {
  readonly map: ExtentMap;
  /** Where the chunks of the block table lie. */
  readonly tableTree: PointerTree;
}

/** Reads nodes by `reader`, verified. */
export function nodesFrom(reader: Reader): ReadNode {
  return ({ ref, offset, length, checksum }) =>
    reader.read(ref, offset, length, (bytes) => crc32(bytes) === checksum);
}

/** The INode at `root` (null: an empty one), with `table` filled. Rejects with `corrupt` when it contradicts itself. */
export async function openInode(
  options: { readonly root: NodePointer | null; readonly mapCacheBytes: number },
  deps: { readonly table: BlockTable; readonly reader: Reader },
): Promise<OpenInode> {
  const { table, reader } = deps;
  const readNode = nodesFrom(reader);
  const root = options.root === null ? null : decodeRoot(await readNode(options.root));
  const tableTree = new PointerTree(root?.table ?? null, readNode);
  if (root !== null) await loadTable(tableTree, table, readNode);
  if (root !== null && table.livePages !== root.livePages) {
    throw new TorusError(
      "corrupt",
      `the INode counts ${root.livePages} pages and its block table ${table.livePages}`,
    );
  }
  const map = new ExtentMap(
    { top: root?.map ?? null, cacheBytes: options.mapCacheBytes },
    { table, readNode },
  );
  return { map, tableTree };
}

async function loadTable(tree: PointerTree, table: BlockTable, readNode: ReadNode): Promise<void> {
  for (
    let chunk = await tree.next(0);
    chunk !== Number.POSITIVE_INFINITY;
    chunk = await tree.next(chunk + 1)
  ) {
    const pointer = await tree.find(chunk);
    assert(pointer !== null, "a chunk that is listed exists");
    const entries = decodeTableChunk(await readNode(pointer), tableChunkIds);
    for (const [slot, entry] of entries) table.restore(chunk * tableChunkIds + slot, entry);
  }
}
