// Valid records for tests of stores and links: real framing and sums around pages that mean nothing. A store cannot
// tell them from those of a volume, since framing is all it knows.

import type { BlockRef } from "#model";
import {
  assert,
  crc32,
  encodeBlockRef,
  pageBytes,
  pageEntryBytes,
  recordEntriesOffset,
  recordFlag,
  recordFrameLayout,
  recordHeaderChecksum,
  recordMagic,
  recordPagesMax,
  recordVersion,
} from "#model";

export interface SampleRecord {
  readonly bytes: Uint8Array;
  /** Header checksum: the next record's `previous`. */
  readonly checksum: number;
  readonly sequence: number;
}

export interface SampleOptions {
  readonly durableIndex?: number;
  readonly durableOffset?: number;
  /** Its epoch has served. */
  readonly isServed?: boolean;
}

function writeUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

/** One record at `offset` of block `ref`; `pages` are its data pages, numbered from logical page 0. */
export function sampleRecord(
  ref: BlockRef,
  sequence: number,
  previous: number,
  offset: number,
  pages: readonly Uint8Array[],
  options: SampleOptions = {},
): SampleRecord {
  assert(pages.length <= recordPagesMax, "a record has at most recordPagesMax pages");
  const bytes = new Uint8Array((1 + pages.length) * pageBytes);
  const view = new DataView(bytes.buffer);
  const layout = recordFrameLayout;
  view.setUint32(layout.magic, recordMagic, true);
  view.setUint16(layout.version, recordVersion, true);
  view.setUint8(layout.kind, 1);
  view.setUint8(layout.flags, options.isServed ? recordFlag.served : 0);
  encodeBlockRef(ref, view, layout.ref);
  writeUint64(view, layout.sequence, sequence);
  writeUint64(view, layout.durableIndex, options.durableIndex ?? 0);
  view.setUint32(layout.durableOffset, options.durableOffset ?? 0, true);
  view.setUint32(layout.offset, offset, true);
  view.setUint32(layout.previous, previous, true);
  view.setUint16(layout.pages, pages.length, true);
  pages.forEach((page, i) => {
    assert(page.length === pageBytes, "a page has pageBytes bytes");
    const entry = recordEntriesOffset + i * pageEntryBytes;
    writeUint64(view, entry, i);
    view.setUint32(entry + 8, crc32(page), true);
    bytes.set(page, (1 + i) * pageBytes);
  });
  const checksum = recordHeaderChecksum(bytes.subarray(0, pageBytes));
  view.setUint32(layout.checksum, checksum, true);
  return { bytes, checksum, sequence };
}

/** A page whose bytes follow from `seed` alone. */
export function samplePage(seed: number): Uint8Array {
  const page = new Uint8Array(pageBytes);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < pageBytes; i += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    page[i] = state >>> 24;
    page[i + 1] = state >>> 16;
    page[i + 2] = state >>> 8;
    page[i + 3] = seed;
  }
  return page;
}

/**
 * `count` records of block `ref` from its start, each with `pagesEach` pages, chained; as one buffer and as offsets
 * (count + 1 of them, the last is the end). `seed` tells one block's content from another's.
 */
export function sampleBlock(
  ref: BlockRef,
  count: number,
  pagesEach = 1,
  seed = ref.index,
): { readonly bytes: Uint8Array; readonly offsets: readonly number[]; readonly checksum: number } {
  const bytes = new Uint8Array(count * (1 + pagesEach) * pageBytes);
  const offsets = [0];
  let previous = 0;
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const pages = Array.from({ length: pagesEach }, (_, page) => samplePage(seed * 1000 + i * 10 + page));
    const record = sampleRecord(ref, i + 1, previous, offset, pages);
    bytes.set(record.bytes, offset);
    previous = record.checksum;
    offset += record.bytes.length;
    offsets.push(offset);
  }
  return { bytes, offsets, checksum: crc32(bytes) };
}
