// Replay: applies the records of recovered blocks to the map, in block and sequence order, and says which pages a block's copy would still
// have to give. Applying what the map already has changes nothing.

import type { RecordFrame } from "#model";
import { decodeRecordFrame, pageBytes, TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ExtentMap } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import { decodeOldPlace, decodePageEntry, decodeRangeEntry, recordKind } from "./record-codec.ts";

/** Leaves cleared between looks for the next that has content. */
const leavesAtOnce = 64;

/** Whole pages [first, first + count), in parts small enough to clear at once; holes are skipped. */
export async function* mappedParts(
  map: ExtentMap,
  first: number,
  count: number,
): AsyncGenerator<{ first: number; count: number }> {
  const end = first + count;
  let page = first;
  while (page < end) {
    const next = Math.max(page, await map.nextMapped(page));
    if (next >= end) return;
    const stop = Math.min(end, (Math.floor(next / leafPages) + leavesAtOnce) * leafPages);
    yield { first: next, count: stop - next };
    page = stop;
  }
}

/** Calls `visit` for each data page of the verified records in `bytes`, with its place in the block in pages. */
export function eachPage(
  bytes: Uint8Array,
  visit: (page: number, pageInBlock: number, checksum: number) => void,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { frame, at } of frames(bytes)) {
    for (let i = 0; i < frame.pages; i++) {
      const { page, checksum } = decodePageEntry(view, at, i);
      visit(page, at / pageBytes + 1 + i, checksum);
    }
  }
}

export interface RecordContent {
  readonly timeMs: number;
  /** Logical pages, each with where it is in the block, in pages. */
  readonly pages: readonly { readonly page: number; readonly at: number }[];
  readonly ranges: readonly { readonly first: number; readonly count: number }[];
}

/** What each of the verified records in `bytes` says, in order. */
export function* eachRecord(bytes: Uint8Array): Generator<RecordContent> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { frame, at } of frames(bytes)) {
    const pages = Array.from({ length: frame.pages }, (_, i) => ({
      page: decodePageEntry(view, at, i).page,
      at: at / pageBytes + 1 + i,
    }));
    const ranges = Array.from({ length: frame.ranges }, (_, i) => decodeRangeEntry(view, at, frame, i));
    yield { timeMs: frame.timeMs, pages, ranges };
  }
}

/** How many of the verified `bytes` are records of `timeMs` or before. */
export function lengthUpTo(bytes: Uint8Array, timeMs: number): number {
  for (const { frame, at } of frames(bytes)) if (frame.timeMs > timeMs) return at;
  return bytes.length;
}

/** Applies the verified records in `bytes`, block `id`, to a volume of `pagesMax` pages. */
export async function replayBlock(
  map: ExtentMap,
  table: BlockTable,
  id: number,
  bytes: Uint8Array,
  pagesMax: number,
): Promise<void> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { frame, at } of frames(bytes)) {
    if (frame.kind === recordKind.data) {
      for (let i = 0; i < frame.pages; i++) {
        const { page, checksum } = decodePageEntry(view, at, i);
        if (page >= pagesMax) throw beyond(page, pagesMax);
        map.set(page, id, at / pageBytes + 1 + i, checksum);
      }
    } else if (frame.kind === recordKind.zero) {
      for (let i = 0; i < frame.ranges; i++) {
        const { first, count } = decodeRangeEntry(view, at, frame, i);
        if (first + count > pagesMax) throw beyond(first + count, pagesMax);
        for await (const part of mappedParts(map, first, count)) clearPart(map, part.first, part.count);
      }
    } else if (frame.kind === recordKind.moved) {
      for (let i = 0; i < frame.pages; i++) {
        const { page, checksum } = decodePageEntry(view, at, i);
        if (page >= pagesMax) throw beyond(page, pagesMax);
        const old = decodeOldPlace(view, at, i);
        const leaf = map.leafNow(page) ?? (await map.load(page));
        // What was written meanwhile stays [C17]. The old block may be gone from the table: then nothing points there either.
        const oldId = table.idOf(old.ref);
        const slot = page % leafPages;
        if (oldId === 0 || leaf.ids[slot] !== oldId || leaf.offsets[slot] !== old.offset) continue;
        map.set(page, id, at / pageBytes + 1 + i, checksum);
      }
    } else {
      throw new TorusError(
        "unsupported",
        `the log has a record of kind ${frame.kind}, which this Torus does not know: upgrade it`,
      );
    }
  }
}

/** Clears pages that may span leaves. */
export function clearPart(map: ExtentMap, first: number, count: number): void {
  let page = first;
  while (page < first + count) {
    const inLeaf = Math.min(leafPages - (page % leafPages), first + count - page);
    map.clear(page, inLeaf);
    page += inLeaf;
  }
}

function* frames(bytes: Uint8Array): Generator<{ frame: RecordFrame; at: number }> {
  let at = 0;
  while (at < bytes.length) {
    const frame = decodeRecordFrame(bytes, at);
    if (frame === null)
      throw new TorusError("corrupt", `a verified record at byte ${at} cannot be read again`);
    yield { frame, at };
    at += frame.lengthBytes;
  }
}

function beyond(page: number, pagesMax: number): TorusError {
  return new TorusError("corrupt", `the log names page ${page} of a volume of ${pagesMax} pages`);
}
