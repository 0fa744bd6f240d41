// What the entries of a record mean to a volume. The framing is #model's (record-frame), the page for people
// docs/formats/record.md.
//
// Kinds: *data* (its pages are the new content of the logical pages named), *zero* (the ranges of logical pages read as zeroes
// from now on: trim and write-zeroes), *moved* (pages copied from elsewhere in the log: each counts only while the map still points
// at the old place it names [C17]). A record is of one kind, and no logical page occurs twice in it, so the order within a record
// never matters [C18].

import type { BlockRef, RecordFrame } from "#model";
import {
  blockRefBytes,
  decodeBlockRef,
  encodeBlockRef,
  pageBytes,
  pageEntryBytes,
  rangeEntryBytes,
  readUint64,
  recordEntriesOffset,
  recordFrameLayout,
  recordHeaderChecksum,
  recordMagic,
  recordPagesMax,
  recordVersion,
  writeUint64,
} from "#model";

export const recordKind = { data: 1, zero: 2, moved: 3 } as const;
export type RecordKind = (typeof recordKind)[keyof typeof recordKind];

/** Ranges that fit one record. */
export const recordRangesMax = Math.floor((pageBytes - recordEntriesOffset) / rangeEntryBytes);

export { recordPagesMax };

/** A place in the log: a block, and the page in it. */
export interface LogPlace {
  readonly ref: BlockRef;
  readonly offset: number;
}

const oldPlaceBytes = blockRefBytes + 2;
/** Pages of one moved record: its header page has room for an entry and an old place of each. */
export const movedPagesMax = Math.floor((pageBytes - recordEntriesOffset) / (pageEntryBytes + oldPlaceBytes));
/** Old places stand behind the room of all entries, so that both can be written as pages come. */
const oldPlacesOffset = recordEntriesOffset + movedPagesMax * pageEntryBytes;

/** Everything of a header but its entries. */
export interface RecordHead {
  readonly kind: RecordKind;
  readonly flags: number;
  readonly ref: BlockRef;
  readonly sequence: number;
  readonly durableIndex: number;
  readonly durableOffset: number;
  readonly offset: number;
  readonly timeMs: number;
  readonly previous: number;
  readonly pages: number;
  readonly ranges: number;
}

/** Writes entry `i` of the data record whose header page starts at `at`. */
export function encodePageEntry(view: DataView, at: number, i: number, page: number, checksum: number): void {
  const offset = at + recordEntriesOffset + i * pageEntryBytes;
  writeUint64(view, offset, page);
  view.setUint32(offset + 8, checksum, true);
}

/** Writes the old place of page `i` of the moved record whose header page starts at `at`. */
export function encodeOldPlace(view: DataView, at: number, i: number, place: LogPlace): void {
  const offset = at + oldPlacesOffset + i * oldPlaceBytes;
  encodeBlockRef(place.ref, view, offset);
  view.setUint16(offset + blockRefBytes, place.offset, true);
}

/** Writes entry `i` of the zero record whose header page starts at `at`. */
export function encodeRangeEntry(view: DataView, at: number, i: number, first: number, count: number): void {
  const offset = at + recordEntriesOffset + i * rangeEntryBytes;
  writeUint64(view, offset, first);
  writeUint64(view, offset + 8, count);
}

/** Writes the head over the page at `at`, whose entries are there and whose rest is zero. Returns its checksum. */
export function encodeRecordHead(buffer: Uint8Array, view: DataView, at: number, head: RecordHead): number {
  const layout = recordFrameLayout;
  view.setUint32(at + layout.magic, recordMagic, true);
  view.setUint16(at + layout.version, recordVersion, true);
  view.setUint8(at + layout.kind, head.kind);
  view.setUint8(at + layout.flags, head.flags);
  encodeBlockRef(head.ref, view, at + layout.ref);
  writeUint64(view, at + layout.sequence, head.sequence);
  writeUint64(view, at + layout.durableIndex, head.durableIndex);
  view.setUint32(at + layout.durableOffset, head.durableOffset, true);
  view.setUint32(at + layout.offset, head.offset, true);
  view.setFloat64(at + layout.time, head.timeMs, true);
  view.setUint32(at + layout.previous, head.previous, true);
  view.setUint16(at + layout.pages, head.pages, true);
  view.setUint16(at + layout.ranges, head.ranges, true);
  const checksum = recordHeaderChecksum(buffer.subarray(at, at + pageBytes));
  view.setUint32(at + layout.checksum, checksum, true);
  return checksum;
}

/** The logical page and checksum of data page `i` of the record at `at`. */
export function decodePageEntry(view: DataView, at: number, i: number): { page: number; checksum: number } {
  const offset = at + recordEntriesOffset + i * pageEntryBytes;
  return { page: readUint64(view, offset), checksum: view.getUint32(offset + 8, true) };
}

/** Where page `i` of the moved record at `at` was before. */
export function decodeOldPlace(view: DataView, at: number, i: number): LogPlace {
  const offset = at + oldPlacesOffset + i * oldPlaceBytes;
  return { ref: decodeBlockRef(view, offset), offset: view.getUint16(offset + blockRefBytes, true) };
}

/** Range `i` of the record at `at`: logical pages [first, first + count). */
export function decodeRangeEntry(
  view: DataView,
  at: number,
  frame: RecordFrame,
  i: number,
): { first: number; count: number } {
  const offset = at + recordEntriesOffset + frame.pages * pageEntryBytes + i * rangeEntryBytes;
  return { first: readUint64(view, offset), count: readUint64(view, offset + 8) };
}
