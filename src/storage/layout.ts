// Layout of blocks.torus: where segments, their tables and slots lie. Pure arithmetic; docs/formats/store.md is the page
// for people.
//
// The file is a row of segments, each `strideBytes` long: a header page, a table with one 64-byte entry a slot, then the
// slots. A segment is of one *slot class*: small (64 KiB) or large (the cluster's block size). The stride is the same
// for both, so that a damaged header loses no other segment. A slot is numbered segment * slotsMax + place.

import { assert, blockBytesMax, blockBytesMin, pageBytes } from "#model";

export const smallSlotBytes = 64 * 1024;
export const slotEntryBytes = 64;
export const segmentBytesDefault = 32 * 1024 * 1024;
export const entriesPerPage = pageBytes / slotEntryBytes;

/** Index into `Layout.classes`. */
export type SlotClass = number;

export interface Layout {
  /** The cluster's block size: what a large slot holds. */
  readonly blockBytes: number;
  /** Bytes of slots in a segment. */
  readonly segmentBytes: number;
  /** Slot sizes, smaller first: one or two. */
  readonly classes: readonly number[];
  /** Room for the table of the class with most slots. */
  readonly tableBytes: number;
  readonly strideBytes: number;
  /** Most slots a segment may have: the factor in slot numbers. */
  readonly slotsMax: number;
}

export function layoutOf(blockBytes: number, segmentBytes: number): Layout {
  assert(blockBytes >= blockBytesMin && blockBytes <= blockBytesMax, "block size is within limits");
  assert(blockBytes % smallSlotBytes === 0, "block size is a multiple of a small slot");
  assert(segmentBytes > 0 && segmentBytes % blockBytes === 0, "segment size is a multiple of the block size");
  const slotsMax = segmentBytes / smallSlotBytes;
  const tableBytes = Math.ceil((slotsMax * slotEntryBytes) / pageBytes) * pageBytes;
  return {
    blockBytes,
    segmentBytes,
    classes: blockBytes === smallSlotBytes ? [smallSlotBytes] : [smallSlotBytes, blockBytes],
    tableBytes,
    strideBytes: pageBytes + tableBytes + segmentBytes,
    slotsMax,
  };
}

/** Slots of a segment of `slotClass`. */
export function slotsOf(layout: Layout, slotClass: SlotClass): number {
  return layout.segmentBytes / layout.classes[slotClass];
}

/** The class whose slots hold `bytes`; the last one when they fit none (the caller checks the limit). */
export function classFor(layout: Layout, bytes: number): SlotClass {
  return bytes <= smallSlotBytes ? 0 : layout.classes.length - 1;
}

export function segmentOffset(layout: Layout, segment: number): number {
  return segment * layout.strideBytes;
}

export function tableOffset(layout: Layout, segment: number): number {
  return segment * layout.strideBytes + pageBytes;
}

export function slotOffset(layout: Layout, segment: number, place: number, slotClass: SlotClass): number {
  return tableOffset(layout, segment) + layout.tableBytes + place * layout.classes[slotClass];
}

/** Segments that fit in a file of `sizeBytes`. */
export function segmentsIn(layout: Layout, sizeBytes: number): number {
  return Math.floor(sizeBytes / layout.strideBytes);
}
