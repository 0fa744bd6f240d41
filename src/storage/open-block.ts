// OpenBlock: what the store knows of a block while it is appended. Invariants: durable <= written <= held <= capacity;
// bytes below `written` are written to the slot, those from there on are in the buffer; the buffer is right from
// `bufferFrom` on (a block that rested may have lost its buffer, and reads what is below from its slot).

import type { BlockRef, RecordFrame, VerifiedRecords } from "#model";
import { assert } from "#model";

export interface OpenBlockStart {
  readonly ref: BlockRef;
  readonly slot: number;
  readonly slotClass: number;
  readonly capacity: number;
  /** Its entry is in the table as open. */
  readonly entryWritten: boolean;
  readonly cut: boolean;
  readonly damaged: boolean;
  /** Its entry was damaged: what the slot holds counts for nothing, an append goes to another slot. */
  readonly distrusted: boolean;
}

export class OpenBlock {
  readonly ref: BlockRef;
  readonly slot: number;
  readonly slotClass: number;
  readonly capacity: number;
  readonly cut: boolean;
  readonly distrusted: boolean;
  damaged: boolean;
  entryWritten: boolean;
  held = 0;
  written = 0;
  durable = 0;
  /** CRC-32 of the held bytes. */
  checksum = 0;
  /** The last record held. */
  last: RecordFrame | null = null;
  /** The highest position any header here names as durable on every member. */
  durableIndex = 0;
  durableOffset = 0;
  buffer: Uint8Array | null = null;
  bufferFrom = 0;
  /** Bytes of its buffer are being written in the background, up to here; 0 when none are. */
  writingTo = 0;
  /** Appended or read since the buffers were last looked through. */
  touched = false;
  /** Sealed, replaced or removed: nothing may be written for it any more. */
  gone = false;

  constructor(start: OpenBlockStart) {
    this.ref = start.ref;
    this.slot = start.slot;
    this.slotClass = start.slotClass;
    this.capacity = start.capacity;
    this.entryWritten = start.entryWritten;
    this.cut = start.cut;
    this.damaged = start.damaged;
    this.distrusted = start.distrusted;
  }

  /** Takes note of records verified at the end of what is held. */
  extend(verified: VerifiedRecords): void {
    this.held += verified.length;
    assert(this.held <= this.capacity, "an open block stays within its capacity");
    this.checksum = verified.blockChecksum;
    this.last = verified.last;
    this.noteDurable(verified.durableIndex, verified.durableOffset);
  }

  noteDurable(index: number, offset: number): void {
    if (index < this.durableIndex || (index === this.durableIndex && offset <= this.durableOffset)) return;
    this.durableIndex = index;
    this.durableOffset = offset;
  }
}
