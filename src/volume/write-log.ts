// WriteLog: the open end of a volume's log. Pages go from the caller's bytes into the open block's buffer, once; they gather in
// a record until it is closed, and a closed record never changes again [C3].
//
// Invariants: everything below `length` of a block is whole, closed records; a page is copied, summed and named in the header
// before the map may point at it; a logical page occurs once in a record.

import type { BlockRef } from "#model";
import { assert, crc32, crc32AppendPage, pageBytes, recordFlag } from "#model";
import type { LogPlace, RecordKind } from "./record-codec.ts";
import {
  encodeOldPlace,
  encodePageEntry,
  encodeRangeEntry,
  encodeRecordHead,
  movedPagesMax,
  recordKind,
  recordPagesMax,
  recordRangesMax,
} from "./record-codec.ts";

/** A block of the log while this process has its bytes. */
export interface LogBlock {
  readonly ref: BlockRef;
  /** In the block table. */
  readonly id: number;
  readonly buffer: Uint8Array;
  readonly view: DataView;
  /** Log position of its first byte. */
  readonly base: number;
  /** Sequence and header checksum of the last record before this block. */
  readonly sequenceBefore: number;
  readonly previousBefore: number;
  /** Closed records. */
  length: number;
  /** CRC-32 of the closed records. */
  checksum: number;
}

export interface DurablePoint {
  readonly index: number;
  readonly offset: number;
}

export interface WriteLogStart {
  readonly sequence: number;
  readonly previous: number;
  readonly position: number;
}

export class WriteLog {
  #block: LogBlock | null = null;
  #sequence: number;
  #previous: number;
  #base: number;
  /** Entries of the record being gathered; the record's header page starts at `block.length`. */
  #pages = 0;
  #ranges = 0;
  /** The record being gathered is of pages that were elsewhere in the log. */
  #isMoved = false;
  readonly #checksums = new Uint32Array(recordPagesMax);

  constructor(start: WriteLogStart) {
    this.#sequence = start.sequence;
    this.#previous = start.previous;
    this.#base = start.position;
  }

  get block(): LogBlock | null {
    return this.#block;
  }

  /** Sequence and header checksum of the last closed record. */
  get chainEnd(): { readonly sequence: number; readonly previous: number } {
    return { sequence: this.#sequence, previous: this.#previous };
  }

  /** Log position after everything gathered so far, closed or not. */
  get position(): number {
    return this.#block === null ? this.#base : this.#block.base + this.#filled(this.#block);
  }

  /** Something is gathered that is not closed. */
  get gathering(): boolean {
    return this.#pages + this.#ranges > 0;
  }

  /** Begins block `ref` in `buffer` (zeroed or not: header pages are cleared here). */
  open(ref: BlockRef, id: number, buffer: Uint8Array): LogBlock {
    assert(this.#block === null, "one block is open");
    this.#block = {
      ref,
      id,
      buffer,
      view: new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength),
      base: this.#base,
      sequenceBefore: this.#sequence,
      previousBefore: this.#previous,
      length: 0,
      checksum: 0,
    };
    return this.#block;
  }

  /** Pages (`moved` or new) that can still be added to the open block; 0 when it is full or none is open. */
  roomPages(moved = false): number {
    const block = this.#block;
    if (block === null) return 0;
    const free = Math.floor((block.buffer.length - this.#filled(block)) / pageBytes);
    if (this.#pages > 0 && this.recordHasRoom(moved)) return free;
    return Math.max(0, free - 1);
  }

  /** The record being gathered can take another page, `moved` or new, without a new header. */
  recordHasRoom(moved = false): boolean {
    if (this.#ranges > 0) return false;
    return (
      this.#pages === 0 || (this.#isMoved === moved && this.#pages < (moved ? movedPagesMax : recordPagesMax))
    );
  }

  /** `pageInBlock` lies in the record still being gathered. */
  isGathering(pageInBlock: number): boolean {
    const block = this.#block;
    return block !== null && this.#pages > 0 && pageInBlock * pageBytes > block.length;
  }

  /**
   * Copies one page in, which was at `from` in the log (null: its content is new). Returns where in the block it is, in pages. The
   * caller has made room.
   */
  addPage(page: number, source: Uint8Array, sourceOffset: number, from: LogPlace | null = null): number {
    const block = this.#block;
    assert(block !== null && this.recordHasRoom(from !== null), "there is room in the record");
    if (this.#pages === 0) {
      block.buffer.fill(0, block.length, block.length + pageBytes);
      this.#isMoved = from !== null;
    }
    const at = block.length + (1 + this.#pages) * pageBytes;
    assert(at + pageBytes <= block.buffer.length, "there is room in the block");
    block.buffer.set(source.subarray(sourceOffset, sourceOffset + pageBytes), at);
    const checksum = crc32(block.buffer.subarray(at, at + pageBytes));
    encodePageEntry(block.view, block.length, this.#pages, page, checksum);
    if (from !== null) encodeOldPlace(block.view, block.length, this.#pages, from);
    this.#checksums[this.#pages] = checksum;
    this.#pages += 1;
    return at / pageBytes;
  }

  /** The checksum of the page last added. */
  get lastChecksum(): number {
    return this.#checksums[this.#pages - 1];
  }

  /** The record being gathered is one of ranges and can take another. */
  get rangesHaveRoom(): boolean {
    return this.#ranges > 0 && this.#ranges < recordRangesMax;
  }

  /** Logical pages [first, first + count) read as zeroes from here on. The caller has made room. */
  addRange(first: number, count: number): void {
    const block = this.#block;
    assert(
      block !== null && this.#pages === 0 && this.#ranges < recordRangesMax,
      "there is room for a range",
    );
    if (this.#ranges === 0) {
      assert(block.length + pageBytes <= block.buffer.length, "there is room in the block");
      block.buffer.fill(0, block.length, block.length + pageBytes);
    }
    encodeRangeEntry(block.view, block.length, this.#ranges, first, count);
    this.#ranges += 1;
  }

  /** Closes the record being gathered, if any. Its bytes are final and may be sent. `isServed`: what it holds may be answered. */
  closeRecord(timeMs: number, durable: DurablePoint, isServed = false): void {
    const block = this.#block;
    if (block === null || !this.gathering) return;
    const at = block.length;
    this.#previous = encodeRecordHead(block.buffer, block.view, at, {
      kind: this.#kind,
      flags: isServed ? recordFlag.served : 0,
      ref: block.ref,
      sequence: this.#sequence + 1,
      durableIndex: durable.index,
      durableOffset: durable.offset,
      offset: at,
      timeMs,
      previous: this.#previous,
      pages: this.#pages,
      ranges: this.#ranges,
    });
    this.#sequence += 1;
    let checksum = crc32AppendPage(block.checksum, crc32(block.buffer.subarray(at, at + pageBytes)));
    for (let i = 0; i < this.#pages; i++) checksum = crc32AppendPage(checksum, this.#checksums[i]);
    block.checksum = checksum;
    block.length = at + (1 + this.#pages) * pageBytes;
    this.#pages = 0;
    this.#ranges = 0;
  }

  /** Ends the open block, whose record must be closed, and returns it. The next may be opened. */
  endBlock(): LogBlock {
    const block = this.#block;
    assert(block !== null && !this.gathering, "a block ends between records");
    this.#base = block.base + block.length;
    this.#block = null;
    return block;
  }

  get #kind(): RecordKind {
    if (this.#pages === 0) return recordKind.zero;
    return this.#isMoved ? recordKind.moved : recordKind.data;
  }

  #filled(block: LogBlock): number {
    return this.gathering ? block.length + (1 + this.#pages) * pageBytes : block.length;
  }
}
