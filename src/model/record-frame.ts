// The framing of a record, which is all a peer knows of it: its place, its order and its sums. What the
// entries mean is the volume's business (#volume, record-codec). docs/formats/record.md is the page for people.
//
// A record is one header page and then `pages` data pages, all 4096 bytes, little-endian:
//
//   0   u32  magic "TREC"          40  u64  durableIndex: the log was durable on every member up to
//   4   u16  version               48  u32  durableOffset:  this block and offset when this was made
//   6   u8   kind                  52  u32  offset of this record in its block
//   7   u8   flags (1: served)     56  f64  time, ms since 1970
//   8   24   block ref             64  u32  checksum of the header before it, also across blocks; 0 for the first
//   32  u64  sequence, from 1      68  u16  pages     70  u16  ranges
//   124 u32  checksum of the header page, this field as zero
//   128      pages x {u64 logical page, u32 crc32 of the page}, then ranges x {u64 first, u64 count}
//
// 72..123 and the rest of the header page are zero and covered by the checksum.

import type { BlockRef, Epoch } from "./block-ref.ts";
import { blockRefEquals, decodeBlockRef } from "./block-ref.ts";
import { crc32, crc32AppendPage } from "./checksum.ts";
import { TorusError } from "./errors.ts";
import { pageBytes, recordPagesMax } from "./limits.ts";
import { readUint64 } from "./uint64.ts";

export const recordMagic = 0x43455254; // "TREC"
export const recordVersion = 1;

/** Byte offsets in the header page. */
export const recordFrameLayout = {
  magic: 0,
  version: 4,
  kind: 6,
  flags: 7,
  ref: 8,
  sequence: 32,
  durableIndex: 40,
  durableOffset: 48,
  offset: 52,
  time: 56,
  previous: 64,
  pages: 68,
  ranges: 70,
  checksum: 124,
} as const;

/** Of `flags`. `served`: the head of its epoch was committed when it was made, so it may have been answered. What is not known is let pass. */
export const recordFlag = { served: 1 } as const;

export const recordEntriesOffset = 128;
export const pageEntryBytes = 12;
export const rangeEntryBytes = 16;

export interface RecordFrame {
  readonly kind: number;
  readonly flags: number;
  readonly ref: BlockRef;
  readonly sequence: number;
  readonly durableIndex: number;
  readonly durableOffset: number;
  readonly offset: number;
  readonly timeMs: number;
  /** Header checksum of the record before it. */
  readonly previous: number;
  readonly pages: number;
  readonly ranges: number;
  /** Of this header. */
  readonly checksum: number;
  /** Header page and data pages. */
  readonly lengthBytes: number;
}

const fourZeroes = new Uint8Array(4);

/** The checksum that belongs at `recordFrameLayout.checksum` of `header` (one page). */
export function recordHeaderChecksum(header: Uint8Array): number {
  const before = crc32(header.subarray(0, recordFrameLayout.checksum));
  return crc32(header.subarray(recordFrameLayout.checksum + 4, pageBytes), crc32(fourZeroes, before));
}

/**
 * The frame of the record whose header page starts at `at` of `bytes`, or null when there is no valid header there
 * (zeroes, garbage, a torn page). Data pages are not looked at.
 */
export function decodeRecordFrame(bytes: Uint8Array, at: number): RecordFrame | null {
  if (at + pageBytes > bytes.length) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, pageBytes);
  const layout = recordFrameLayout;
  if (view.getUint32(layout.magic, true) !== recordMagic) return null;
  if (view.getUint16(layout.version, true) !== recordVersion) return null;
  const checksum = view.getUint32(layout.checksum, true);
  if (recordHeaderChecksum(bytes.subarray(at, at + pageBytes)) !== checksum) return null;
  const pages = view.getUint16(layout.pages, true);
  const ranges = view.getUint16(layout.ranges, true);
  if (
    pages > recordPagesMax ||
    pages * pageEntryBytes + ranges * rangeEntryBytes > pageBytes - recordEntriesOffset
  ) {
    return null;
  }
  return {
    kind: view.getUint8(layout.kind),
    flags: view.getUint8(layout.flags),
    ref: decodeBlockRef(view, layout.ref),
    sequence: readUint64(view, layout.sequence),
    durableIndex: readUint64(view, layout.durableIndex),
    durableOffset: view.getUint32(layout.durableOffset, true),
    offset: view.getUint32(layout.offset, true),
    timeMs: view.getFloat64(layout.time, true),
    previous: view.getUint32(layout.previous, true),
    pages,
    ranges,
    checksum,
    lengthBytes: (1 + pages) * pageBytes,
  };
}

/** Whether any of the whole records `bytes` begin with is one of `epoch` that may have been answered: its epoch has served. Data pages are not looked at. */
export function showServed(bytes: Uint8Array, epoch: Epoch): boolean {
  for (let at = 0; at < bytes.length; ) {
    const frame = decodeRecordFrame(bytes, at);
    if (frame === null) return false;
    if ((frame.flags & recordFlag.served) !== 0 && frame.ref.epoch === epoch) return true;
    at += frame.lengthBytes;
  }
  return false;
}

/** What `verifyRecords` found: whole valid records up to `length`, and the checksum of the block up to there. */
export interface VerifiedRecords {
  readonly length: number;
  /** CRC-32 of the block from its start to offset + length. */
  readonly blockChecksum: number;
  readonly last: RecordFrame | null;
  /** The highest durable position any of the headers names. */
  readonly durableIndex: number;
  readonly durableOffset: number;
}

/**
 * Walks the records in `bytes`, which lie at `offset` of block `ref`, checking every header and page sum, and
 * that each follows the one before (`previous`: the last record before them in the block, if any). Stops before the first that fails.
 * `blockChecksum` is of the block before `offset`.
 */
export function verifyRecords(
  bytes: Uint8Array,
  ref: BlockRef,
  offset: number,
  blockChecksum: number,
  previous: RecordFrame | null,
): VerifiedRecords {
  let at = 0;
  let checksum = blockChecksum;
  let last = previous;
  let durableIndex = previous?.durableIndex ?? 0;
  let durableOffset = previous?.durableOffset ?? 0;
  while (at < bytes.length) {
    const frame = decodeRecordFrame(bytes, at);
    if (frame === null || !blockRefEquals(frame.ref, ref) || frame.offset !== offset + at) break;
    if (at + frame.lengthBytes > bytes.length) break;
    if (last !== null && (frame.sequence !== last.sequence + 1 || frame.previous !== last.checksum)) break;
    const page = at + pageBytes;
    const end = at + frame.lengthBytes;
    // All pages are summed in one call, on top of what came before them, and compared with what their own sums come to.
    const next = crc32(bytes.subarray(at, page), checksum);
    const sum = frame.pages === 0 ? next : crc32(bytes.subarray(page, end), next);
    if (sum !== appendedSums(next, bytes, at + recordEntriesOffset, frame.pages)) break;
    checksum = sum;
    last = frame;
    if (
      frame.durableIndex > durableIndex ||
      (frame.durableIndex === durableIndex && frame.durableOffset > durableOffset)
    ) {
      durableIndex = frame.durableIndex;
      durableOffset = frame.durableOffset;
    }
    at += frame.lengthBytes;
  }
  return { length: at, blockChecksum: checksum, last, durableIndex, durableOffset };
}

/** What `checksum` becomes when `pages` pages follow whose sums stand in the entries at `entries` of `bytes`. */
function appendedSums(checksum: number, bytes: Uint8Array, entries: number, pages: number): number {
  let sum = checksum;
  let at = entries + pageEntryBytes - 4;
  for (let i = 0; i < pages; i++, at += pageEntryBytes) {
    const page = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    sum = crc32AppendPage(sum, page >>> 0);
  }
  return sum;
}

/** For callers that must have all of it: throws `corrupt` when `verified` stopped short of `expected` bytes. */
export function requireAllRecords(
  verified: VerifiedRecords,
  expected: number,
  ref: BlockRef,
  offset: number,
): void {
  if (verified.length !== expected) {
    throw new TorusError(
      "corrupt",
      `the record at byte ${offset + verified.length} of block ${ref.volume}.${ref.epoch}.${ref.type}.${ref.index} does not match its checksums or does not follow the one before it`,
    );
  }
}
