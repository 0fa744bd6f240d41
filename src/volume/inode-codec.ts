// Bytes of an INode's nodes (docs/formats/inode.md). Every node begins with the same 16 bytes and is covered by the checksum in
// the pointer that leads to it:
//
//   0 u32 magic "TINO"   4 u16 version   6 u8 kind   7 u8 width of a check field, in bytes   8 u32 count   12 u32 zero
//
// leaf: `count` runs {u16 first page, u16 pages, u32 block id, u16 page in block, u16 zero}, then a check field for every page
//   of the runs, in order. Pages in no run are holes.
// interior: `count` children {u16 slot, u16 zero, pointer}; pointer = {24 ref, u32 offset, u32 length, u32 checksum}.
// table: `count` entries {u32 slot, u32 live pages, 24 ref, u32 length, u32 checksum, u32 flags (1: sealed)}.
// root: `count` = 1: {f64 size in bytes, f64 live pages, pointer or zeroes to the map's top node, the same to
//   the table's}.

import type { NodePointer } from "#metadata";
import { blockRefBytes, decodeBlockRef, encodeBlockRef, TorusError } from "#model";
import type { TableEntry } from "./block-table.ts";

const nodeMagic = 0x4f4e4954; // "TINO"
const nodeVersion = 1;
const nodeHeaderBytes = 16;
const nodeKind = { leaf: 1, interior: 2, table: 3, root: 4 } as const;
const checkBytes = 4;

/** Pages of a leaf, and children of an interior node. */
export const leafPages = 512;
export const fanOut = 512;

const runBytes = 12;
export const pointerBytes = blockRefBytes + 12;
const childBytes = 4 + pointerBytes;
const entryBytes = 8 + blockRefBytes + 12;

/** The map of 512 pages. ids 0: hole. */
export interface LeafArrays {
  readonly ids: Uint32Array;
  readonly offsets: Uint16Array;
  readonly checksums: Uint32Array;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeHeader(view: DataView, kind: number, count: number): void {
  view.setUint32(0, nodeMagic, true);
  view.setUint16(4, nodeVersion, true);
  view.setUint8(6, kind);
  view.setUint8(7, checkBytes);
  view.setUint32(8, count, true);
}

function readHeader(bytes: Uint8Array, kind: number, countMax: number): { view: DataView; count: number } {
  const view = viewOf(bytes);
  if (bytes.length < nodeHeaderBytes || view.getUint32(0, true) !== nodeMagic) {
    throw new TorusError("corrupt", "a node of an INode does not begin as one");
  }
  const version = view.getUint16(4, true);
  if (version !== nodeVersion) {
    throw new TorusError(
      "unsupported",
      `a node of an INode has format ${version}; this Torus reads ${nodeVersion}`,
    );
  }
  const count = view.getUint32(8, true);
  if (view.getUint8(6) !== kind || view.getUint8(7) !== checkBytes || count > countMax) {
    throw new TorusError("corrupt", "a node of an INode is of another kind than its place says");
  }
  return { view, count };
}

function requireLength(bytes: Uint8Array, expected: number): void {
  if (bytes.length !== expected) throw new TorusError("corrupt", "a node of an INode is cut short");
}

/** Bytes of a leaf; sequential places share a run. */
export function encodeLeaf(leaf: LeafArrays): Uint8Array {
  const { ids, offsets, checksums } = leaf;
  let runs = 0;
  let pages = 0;
  for (let i = 0; i < leafPages; i++) {
    if (ids[i] === 0) continue;
    pages += 1;
    if (i === 0 || ids[i] !== ids[i - 1] || offsets[i] !== offsets[i - 1] + 1) runs += 1;
  }
  const bytes = new Uint8Array(nodeHeaderBytes + runs * runBytes + pages * checkBytes);
  const view = viewOf(bytes);
  writeHeader(view, nodeKind.leaf, runs);
  let run = nodeHeaderBytes - runBytes;
  let check = nodeHeaderBytes + runs * runBytes;
  for (let i = 0; i < leafPages; i++) {
    if (ids[i] === 0) continue;
    if (i === 0 || ids[i] !== ids[i - 1] || offsets[i] !== offsets[i - 1] + 1) {
      run += runBytes;
      view.setUint16(run, i, true);
      view.setUint32(run + 4, ids[i], true);
      view.setUint16(run + 8, offsets[i], true);
    }
    view.setUint16(run + 2, view.getUint16(run + 2, true) + 1, true);
    view.setUint32(check, checksums[i], true);
    check += checkBytes;
  }
  return bytes;
}

/** Fills `leaf` (all zero) from `bytes`. Throws `corrupt`. */
export function decodeLeaf(bytes: Uint8Array, leaf: LeafArrays): void {
  const { view, count } = readHeader(bytes, nodeKind.leaf, leafPages);
  let check = nodeHeaderBytes + count * runBytes;
  let after = 0;
  for (let r = 0; r < count; r++) {
    const run = nodeHeaderBytes + r * runBytes;
    if (run + runBytes > bytes.length) throw new TorusError("corrupt", "a leaf of an INode is cut short");
    const first = view.getUint16(run, true);
    const pages = view.getUint16(run + 2, true);
    const id = view.getUint32(run + 4, true);
    const offset = view.getUint16(run + 8, true);
    if (first < after || first + pages > leafPages || id === 0 || check + pages * checkBytes > bytes.length) {
      throw new TorusError("corrupt", "a leaf of an INode has runs that do not fit");
    }
    for (let i = 0; i < pages; i++) {
      leaf.ids[first + i] = id;
      leaf.offsets[first + i] = offset + i;
      leaf.checksums[first + i] = view.getUint32(check, true);
      check += checkBytes;
    }
    after = first + pages;
  }
  requireLength(bytes, check);
}

function writePointer(view: DataView, at: number, pointer: NodePointer): void {
  encodeBlockRef(pointer.ref, view, at);
  view.setUint32(at + 24, pointer.offset, true);
  view.setUint32(at + 28, pointer.length, true);
  view.setUint32(at + 32, pointer.checksum, true);
}

function readPointer(view: DataView, at: number): NodePointer {
  return {
    ref: decodeBlockRef(view, at),
    offset: view.getUint32(at + 24, true),
    length: view.getUint32(at + 28, true),
    checksum: view.getUint32(at + 32, true),
  };
}

/** Children of an interior node by slot. */
export function encodeInterior(children: ReadonlyMap<number, NodePointer>): Uint8Array {
  const bytes = new Uint8Array(nodeHeaderBytes + children.size * childBytes);
  const view = viewOf(bytes);
  writeHeader(view, nodeKind.interior, children.size);
  let at = nodeHeaderBytes;
  for (const [slot, pointer] of children) {
    view.setUint16(at, slot, true);
    writePointer(view, at + 4, pointer);
    at += childBytes;
  }
  return bytes;
}

export function decodeInterior(bytes: Uint8Array): Map<number, NodePointer> {
  const { view, count } = readHeader(bytes, nodeKind.interior, fanOut);
  requireLength(bytes, nodeHeaderBytes + count * childBytes);
  const children = new Map<number, NodePointer>();
  for (let i = 0; i < count; i++) {
    const at = nodeHeaderBytes + i * childBytes;
    const slot = view.getUint16(at, true);
    if (slot >= fanOut)
      throw new TorusError("corrupt", "an interior node of an INode has a slot out of range");
    children.set(slot, readPointer(view, at + 4));
  }
  return children;
}

/** A chunk of the block table: entries by their slot in the chunk. */
export function encodeTableChunk(entries: ReadonlyMap<number, TableEntry>): Uint8Array {
  const bytes = new Uint8Array(nodeHeaderBytes + entries.size * entryBytes);
  const view = viewOf(bytes);
  writeHeader(view, nodeKind.table, entries.size);
  let at = nodeHeaderBytes;
  for (const [slot, entry] of entries) {
    view.setUint32(at, slot, true);
    view.setUint32(at + 4, entry.live, true);
    encodeBlockRef(entry.ref, view, at + 8);
    view.setUint32(at + 32, entry.length, true);
    view.setUint32(at + 36, entry.checksum, true);
    view.setUint32(at + 40, entry.sealed ? 1 : 0, true);
    at += entryBytes;
  }
  return bytes;
}

export function decodeTableChunk(bytes: Uint8Array, slotsMax: number): Map<number, TableEntry> {
  const { view, count } = readHeader(bytes, nodeKind.table, slotsMax);
  requireLength(bytes, nodeHeaderBytes + count * entryBytes);
  const entries = new Map<number, TableEntry>();
  for (let i = 0; i < count; i++) {
    const at = nodeHeaderBytes + i * entryBytes;
    const slot = view.getUint32(at, true);
    if (slot >= slotsMax)
      throw new TorusError("corrupt", "a table chunk of an INode has a slot out of range");
    entries.set(slot, {
      ref: decodeBlockRef(view, at + 8),
      live: view.getUint32(at + 4, true),
      length: view.getUint32(at + 32, true),
      checksum: view.getUint32(at + 36, true),
      sealed: (view.getUint32(at + 40, true) & 1) !== 0,
    });
  }
  return entries;
}

export interface InodeRoot {
  readonly sizeBytes: number;
  readonly livePages: number;
  readonly map: NodePointer | null;
  readonly table: NodePointer | null;
}

const rootBytes = nodeHeaderBytes + 16 + 2 * pointerBytes;

export function encodeRoot(root: InodeRoot): Uint8Array {
  const bytes = new Uint8Array(rootBytes);
  const view = viewOf(bytes);
  writeHeader(view, nodeKind.root, 1);
  view.setFloat64(nodeHeaderBytes, root.sizeBytes, true);
  view.setFloat64(nodeHeaderBytes + 8, root.livePages, true);
  if (root.map !== null) writePointer(view, nodeHeaderBytes + 16, root.map);
  if (root.table !== null) writePointer(view, nodeHeaderBytes + 16 + pointerBytes, root.table);
  return bytes;
}

export function decodeRoot(bytes: Uint8Array): InodeRoot {
  const { view } = readHeader(bytes, nodeKind.root, 1);
  requireLength(bytes, rootBytes);
  const pointer = (at: number): NodePointer | null => {
    const read = readPointer(view, at);
    return read.length === 0 ? null : read;
  };
  return {
    sizeBytes: view.getFloat64(nodeHeaderBytes, true),
    livePages: view.getFloat64(nodeHeaderBytes + 8, true),
    map: pointer(nodeHeaderBytes + 16),
    table: pointer(nodeHeaderBytes + 16 + pointerBytes),
  };
}
