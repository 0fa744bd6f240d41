// What a checkpoint, and so a snapshot, costs: the nodes on the way to what changed, however much there is besides.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { NodePointer } from "#metadata";
import { crc32, pageBytes } from "#model";
import { BlockTable } from "./block-table.ts";
import { ExtentMap } from "./extent-map.ts";
import { NodeShelf } from "./inode.fixture.ts";
import { leafPages } from "./inode-codec.ts";
import { encodeInode } from "./inode-encoder.ts";
import { PointerTree } from "./pointer-tree.ts";

const pagesPerBlock = 1024;
/** Of a leaf, spread over it: each is a run of its own, as after random writes. */
const pagesPerLeaf = 32;
const leavesAtOnce = 2048;

/** An INode of as many leaves, and what the next one costs after a page of it was written again. */
async function costOfNext(leaves: number): Promise<{ nodes: number; bytes: number; ms: number }> {
  const shelf = new NodeShelf();
  const table = new BlockTable();
  const map = new ExtentMap({ top: null, cacheBytes: 0 }, { table, readNode: shelf.read });
  const inode = { map, table, tableTree: new PointerTree(null, shelf.read) };
  const cost = { nodes: 0, bytes: 0 };
  let [index, offset, number] = [0, 0, 0];
  const place = (bytes: Uint8Array): NodePointer => {
    cost.nodes += 1;
    cost.bytes += bytes.length;
    const ref = { type: 1, volume: 1, epoch: 1, index: cost.nodes };
    const pointer = { ref, offset: cost.bytes % 4096, length: bytes.length, checksum: crc32(bytes) };
    shelf.put(pointer, bytes);
    return pointer;
  };
  const checkpoint = (): void => {
    number += 1;
    encodeInode(inode, 2 ** 40, number, place);
    map.committed(number);
  };
  const put = (page: number): void => {
    if (offset % pagesPerBlock === 0) table.add({ type: 0, volume: 1, epoch: 1, index: ++index });
    map.set(page, index, offset % pagesPerBlock, page);
    offset += 1;
    if (offset % pagesPerBlock === 0) table.leave(index, pagesPerBlock * pageBytes, 1);
  };
  for (let leaf = 0; leaf < leaves; leaf++) {
    for (let i = 0; i < pagesPerLeaf; i++) put(leaf * leafPages + i * (leafPages / pagesPerLeaf));
    if (leaf % leavesAtOnce === leavesAtOnce - 1) checkpoint();
  }
  checkpoint();
  const before = { ...cost };
  put(Math.floor(leaves / 2) * leafPages);
  for (let loads = map.loads(); loads !== null; loads = map.loads()) await loads;
  const startedMs = performance.now();
  checkpoint();
  const ms = performance.now() - startedMs;
  return { nodes: cost.nodes - before.nodes, bytes: cost.bytes - before.bytes, ms };
}

test("an INode of as many leaves as 100 GiB have costs as many nodes as a small one, and some kilobytes more", async (t) => {
  const small = await costOfNext(64);
  const large = await costOfNext((100 * 2 ** 30) / pageBytes / leafPages);
  t.diagnostic(`small: ${JSON.stringify(small)}, large: ${JSON.stringify(large)}`);
  assert.ok(Math.abs(large.nodes - small.nodes) <= 2, `${large.nodes} nodes and ${small.nodes}`);
  assert.ok(large.bytes < 96 * 1024, `${large.bytes} bytes`);
});
