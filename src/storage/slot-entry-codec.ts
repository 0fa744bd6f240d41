// A slot's entry in the table of its segment, and the header page of a segment: bytes <-> values. All little-endian.
//
//   entry, 64 bytes, never across a 512-byte sector (so it is never torn)
//   0  u32 magic "TSLT"   4 u8 state   5 u8 flags   6 u16 class  8 ref (24)   32 u32 length   36 u32 checksum
//   40 u64 sequence       48 u64 durableIndex       56 u32 durableOffset      60 u32 CRC-32
//
//   segment header, 64 bytes, twice in its page: in the first and in the last sector
//   0  u32 magic "TSEG"   4 u16 version   6 u16 class   8 u32 slot bytes   12 u32 segment bytes   16 u32 segment
//   20 peer id (16)       36 zero         60 u32 CRC-32
//
// Both CRCs start from that of the peer id and the place, so that bytes of another store or another place (a misdirected
// write, a disk image put together wrongly) do not pass.

import type { BlockRef, PeerId } from "#model";
import {
  crc32,
  decodeBlockRef,
  encodeBlockRef,
  isTorusError,
  pageBytes,
  readUint64,
  writeUint64,
} from "#model";
import type { SlotClass } from "./layout.ts";
import { slotEntryBytes } from "./layout.ts";

/** `lost`: the entry did not verify at a start; its slot is set aside, whatever its bytes may be. */
export const slotStates = { free: 1, open: 2, sealed: 3, lost: 4 } as const;
export type SlotState = keyof typeof slotStates;

export interface SlotEntry {
  readonly state: SlotState;
  /** Of the segment, so that a segment with a damaged header is still readable. */
  readonly slotClass: SlotClass;
  /** The slot held another block before: what lies beyond this block's bytes need not be zero. */
  readonly reused: boolean;
  /** The entry was rebuilt after damage: what the slot holds counts for nothing until it is replaced. */
  readonly distrusted: boolean;
  readonly ref: BlockRef;
  /** Of a sealed block its length, of an open one its capacity. */
  readonly length: number;
  /** Of a sealed block. */
  readonly checksum: number;
  /** Grows with every entry written in the store: of two entries of one ref the later one counts. */
  readonly sequence: number;
  /** Of a sealed block: the highest position its record headers name as durable on every member. */
  readonly durableIndex: number;
  readonly durableOffset: number;
}

/** What stands at a place of the table. */
export type DecodedEntry = SlotEntry | "unused" | "damaged";

export interface SegmentHeader {
  readonly slotClass: number;
  readonly slotBytes: number;
  readonly segmentBytes: number;
}

const entryMagic = 0x544c5354; // "TSLT"
const headerMagic = 0x47455354; // "TSEG"
const headerVersion = 1;
const checksumOffset = 60;
const headerCopies = [0, pageBytes - 512];
const stateNames: Readonly<Record<number, SlotState>> = { 1: "free", 2: "open", 3: "sealed", 4: "lost" };
const flagReused = 1;
const flagDistrusted = 2;

/** The 16 bytes of a peer id (a UUID). */
function peerBytes(peer: PeerId): Uint8Array {
  return Uint8Array.from(Buffer.from(peer.replaceAll("-", ""), "hex"));
}

/** Where the CRCs of `peer`'s store start from. */
export function checksumSeed(peer: PeerId): number {
  return crc32(peerBytes(peer));
}

const placeBytes = new Uint8Array(8);
const placeView = new DataView(placeBytes.buffer);

function checksumAt(seed: number, place: number, bytes: Uint8Array): number {
  writeUint64(placeView, 0, place);
  return crc32(bytes, crc32(placeBytes, seed));
}

function viewOf(bytes: Uint8Array, at: number): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + at, slotEntryBytes);
}

/** Writes `entry` of slot number `slot` at `at` of `target`. */
export function encodeSlotEntry(
  entry: SlotEntry,
  seed: number,
  slot: number,
  target: Uint8Array,
  at: number,
): void {
  const view = viewOf(target, at);
  view.setUint32(0, entryMagic, true);
  view.setUint8(4, slotStates[entry.state]);
  view.setUint8(5, (entry.reused ? flagReused : 0) | (entry.distrusted ? flagDistrusted : 0));
  view.setUint16(6, entry.slotClass, true);
  encodeBlockRef(entry.ref, view, 8);
  view.setUint32(32, entry.length, true);
  view.setUint32(36, entry.checksum, true);
  writeUint64(view, 40, entry.sequence);
  writeUint64(view, 48, entry.durableIndex);
  view.setUint32(56, entry.durableOffset, true);
  view.setUint32(checksumOffset, checksumAt(seed, slot, target.subarray(at, at + checksumOffset)), true);
}

/** What the 64 bytes at `at` say of slot number `slot`. */
export function decodeSlotEntry(source: Uint8Array, at: number, seed: number, slot: number): DecodedEntry {
  const bytes = source.subarray(at, at + slotEntryBytes);
  if (isZero(bytes)) return "unused";
  const view = viewOf(source, at);
  if (view.getUint32(0, true) !== entryMagic || stateNames[view.getUint8(4)] === undefined) return "damaged";
  if (view.getUint32(checksumOffset, true) !== checksumAt(seed, slot, bytes.subarray(0, checksumOffset))) {
    return "damaged";
  }
  try {
    return readSlotEntry(source, at);
  } catch (error) {
    if (isTorusError(error, "protocol")) return "damaged";
    throw error;
  }
}

/** The entry at `at` of bytes that are known to be right: those `encodeSlotEntry` wrote or `decodeSlotEntry` accepted. */
export function readSlotEntry(source: Uint8Array, at: number): SlotEntry {
  const view = viewOf(source, at);
  const flags = view.getUint8(5);
  return {
    state: stateNames[view.getUint8(4)],
    slotClass: view.getUint16(6, true),
    reused: (flags & flagReused) !== 0,
    distrusted: (flags & flagDistrusted) !== 0,
    ref: decodeBlockRef(view, 8),
    length: view.getUint32(32, true),
    checksum: view.getUint32(36, true),
    sequence: readUint64(view, 40),
    durableIndex: readUint64(view, 48),
    durableOffset: view.getUint32(56, true),
  };
}

/** Writes both copies of the header of segment `segment` into `page`. */
export function encodeSegmentHeader(
  header: SegmentHeader,
  peer: PeerId,
  segment: number,
  page: Uint8Array,
): void {
  page.fill(0);
  const seed = checksumSeed(peer);
  for (const at of headerCopies) {
    const view = viewOf(page, at);
    view.setUint32(0, headerMagic, true);
    view.setUint16(4, headerVersion, true);
    view.setUint16(6, header.slotClass, true);
    view.setUint32(8, header.slotBytes, true);
    view.setUint32(12, header.segmentBytes, true);
    view.setUint32(16, segment, true);
    page.set(peerBytes(peer), at + 20);
    view.setUint32(checksumOffset, checksumAt(seed, segment, page.subarray(at, at + checksumOffset)), true);
  }
}

/** The header in `page`, from whichever copy verifies. "unused" when the page is all zero: not formatted yet. */
export function decodeSegmentHeader(
  page: Uint8Array,
  peer: PeerId,
  segment: number,
): SegmentHeader | "unused" | "damaged" {
  const seed = checksumSeed(peer);
  for (const at of headerCopies) {
    const view = viewOf(page, at);
    if (view.getUint32(0, true) !== headerMagic || view.getUint16(4, true) !== headerVersion) continue;
    const sum = checksumAt(seed, segment, page.subarray(at, at + checksumOffset));
    if (view.getUint32(checksumOffset, true) !== sum) continue;
    return {
      slotClass: view.getUint16(6, true),
      slotBytes: view.getUint32(8, true),
      segmentBytes: view.getUint32(12, true),
    };
  }
  return isZero(page) ? "unused" : "damaged";
}

const zeroPage = new Uint8Array(pageBytes);

export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += pageBytes) {
    const part = bytes.subarray(at, at + pageBytes);
    if (Buffer.compare(part, zeroPage.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}
