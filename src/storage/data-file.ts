// DataFile: blocks.torus as segments, table entries and slots. It keeps the image of every table in memory as it is (or
// is about to be) on disk, and is the only one that writes the file. An error of a write poisons the store. Nothing here
// is durable before the file's next fdatasync: the caller asks for that.

import type { Disk, DiskFile } from "#host";
import type { PeerId } from "#model";
import { assert, isTorusError, pageBytes } from "#model";
import type { Health } from "./health.ts";
import type { Layout, SlotClass } from "./layout.ts";
import { entriesPerPage, segmentOffset, slotEntryBytes, slotOffset, slotsOf, tableOffset } from "./layout.ts";
import type { SlotEntry } from "./slot-entry-codec.ts";
import {
  checksumSeed,
  encodeSegmentHeader,
  encodeSlotEntry,
  isZero,
  readSlotEntry,
} from "./slot-entry-codec.ts";
import { WarmParts, warmPartBytes } from "./warm-parts.ts";

export interface DataFileOptions {
  readonly layout: Layout;
  readonly peer: PeerId;
  /** What the system may keep of the file in its page cache, as far as anybody knows. */
  readonly cachedBytesMax: number;
}

export interface DataFileDeps {
  readonly file: DiskFile;
  readonly disk: Disk;
  readonly health: Health;
}

/** What a caller says of an entry; flags and sequence are the file's. */
export type EntryFields = Pick<SlotEntry, "state" | "ref" | "length" | "checksum"> &
  Partial<Pick<SlotEntry, "durableIndex" | "durableOffset" | "distrusted">>;

export interface Segment {
  readonly slotClass: SlotClass;
  readonly slots: number;
  /** The entries as on disk, 64 bytes each. */
  readonly entries: Uint8Array;
}

/** Bytes of the buffer through which unaligned bytes pass on their way to the disk. */
const stagingBytes = 512 * 1024;

export class DataFile {
  readonly layout: Layout;
  readonly peer: PeerId;
  /** Where the CRCs of this store's entries start from. */
  readonly checksumSeed: number;
  readonly warm: WarmParts;
  readonly #deps: DataFileDeps;
  /** By number; null for one whose header is damaged. */
  readonly #segments: (Segment | null)[] = [];
  readonly #page: Uint8Array;
  readonly #staging: Uint8Array;
  #sequence = 1;

  constructor(options: DataFileOptions, deps: DataFileDeps) {
    this.layout = options.layout;
    this.peer = options.peer;
    this.#deps = deps;
    this.checksumSeed = checksumSeed(options.peer);
    this.warm = new WarmParts({
      segmentParts: options.layout.segmentBytes / warmPartBytes,
      partsMax: Math.floor(options.cachedBytesMax / warmPartBytes),
    });
    this.#page = deps.disk.allocateAligned(pageBytes);
    this.#staging = deps.disk.allocateAligned(Math.min(stagingBytes, options.layout.blockBytes));
  }

  /** Segments, usable or not. */
  get segments(): number {
    return this.#segments.length;
  }

  segment(index: number): Segment | null {
    return this.#segments[index];
  }

  /** Takes in the next segment as it was found; null when its header is damaged. */
  addSegment(segment: Segment | null): void {
    this.#segments.push(segment);
  }

  /** From now on sequences are above `sequence`. */
  skipSequence(sequence: number): void {
    this.#sequence = Math.max(this.#sequence, sequence + 1);
  }

  /**
   * Makes the next segment: zeroes over all of it, durable, then its header. Rejects with `full` without space; other
   * errors poison the store, for they may be those of bytes written before.
   */
  async growSegment(slotClass: SlotClass): Promise<number> {
    const index = this.#segments.length;
    const from = segmentOffset(this.layout, index);
    try {
      await this.#deps.file.zeroFill(from, from + this.layout.strideBytes);
    } catch (error) {
      if (isTorusError(error, "full")) throw error;
      throw this.#deps.health.poisonWith(error);
    }
    assert(this.#segments.length === index, "segments are made one at a time");
    this.writeHeader(index, slotClass);
    const slots = slotsOf(this.layout, slotClass);
    this.#segments.push({ slotClass, slots, entries: new Uint8Array(slots * slotEntryBytes) });
    return index;
  }

  writeHeader(index: number, slotClass: SlotClass): void {
    const { classes, segmentBytes } = this.layout;
    const header = { slotClass, slotBytes: classes[slotClass], segmentBytes };
    encodeSegmentHeader(header, this.peer, index, this.#page);
    this.#write(this.#page, segmentOffset(this.layout, index));
  }

  classOf(slot: number): SlotClass {
    return this.#place(slot).segment.slotClass;
  }

  slotBytes(slot: number): number {
    return this.layout.classes[this.classOf(slot)];
  }

  /** The entry of `slot`; null when it was never used. */
  entry(slot: number): SlotEntry | null {
    const { segment, place } = this.#place(slot);
    const at = place * slotEntryBytes;
    if (isZero(segment.entries.subarray(at, at + slotEntryBytes))) return null;
    return readSlotEntry(segment.entries, at);
  }

  /** Writes the entry of `slot` with the next sequence. */
  writeEntry(slot: number, fields: EntryFields): void {
    const { segment, index, place } = this.#place(slot);
    const at = place * slotEntryBytes;
    const before = this.entry(slot);
    const reused =
      before !== null && (before.reused || before.state !== "open" || !sameBlock(before, fields));
    const entry = { durableIndex: 0, durableOffset: 0, distrusted: false, ...fields };
    const { slotClass } = segment;
    const written = { ...entry, slotClass, reused, sequence: this.#sequence++ };
    encodeSlotEntry(written, this.checksumSeed, slot, segment.entries, at);
    const first = Math.floor(place / entriesPerPage) * entriesPerPage * slotEntryBytes;
    const entries = segment.entries.subarray(first, first + pageBytes);
    this.#page.fill(0);
    this.#page.set(entries);
    this.#write(this.#page, tableOffset(this.layout, index) + first);
  }

  /** Writes `bytes` (whole pages of aligned memory) at `at` of `slot`. */
  writeSlot(slot: number, at: number, bytes: Uint8Array): void {
    this.#noteCold(slot, at, at + bytes.length);
    this.#write(bytes, this.offsetOf(slot) + at);
  }

  /** As `writeSlot`, in the background; `bytes` do not change meanwhile. Rejects with `poisoned`. */
  async writeSlotAside(slot: number, at: number, bytes: Uint8Array): Promise<void> {
    const { file, health } = this.#deps;
    if (health.poison !== null) throw health.poison;
    this.#noteCold(slot, at, at + bytes.length);
    try {
      await file.write(bytes, this.offsetOf(slot) + at);
    } catch (error) {
      throw health.poisonWith(error);
    }
  }

  /** Bytes at most that `stagePart` and `readPartDirect` pass at once: more would keep others of this thread waiting. */
  get partBytes(): number {
    return this.#staging.length;
  }

  /** Writes `part`, of any alignment in memory and a part's size at most, at `at` of `slot`; its last page is filled up with zeroes. */
  stagePart(slot: number, at: number, part: Uint8Array): void {
    const staging = this.#staging;
    const length = Math.ceil(part.length / pageBytes) * pageBytes;
    staging.set(part);
    staging.fill(0, part.length, length);
    this.writeSlot(slot, at, staging.subarray(0, length));
  }

  /** Bytes [from, to) of `slot` are believed to be in the page cache. */
  isWarm(slot: number, from: number, to: number): boolean {
    const { segment, first, end } = this.#partsOf(slot, from, to);
    return this.warm.has(segment, first, end);
  }

  /** Has the system read bytes [from, to) of `slot` into its page cache. */
  bringIn(slot: number, from: number, to: number): Promise<void> {
    return this.#deps.file.bringIn(this.offsetOf(slot) + from, to - from);
  }

  /** The parts that hold bytes [from, to) of `slot` are in the page cache from now on. */
  noteWarm(slot: number, from: number, to: number): void {
    const { segment, first, end } = this.#partsOf(slot, from, to);
    this.warm.add(segment, first, end);
  }

  /** What is written past the page cache is not in it. */
  #noteCold(slot: number, from: number, to: number): void {
    const { segment, first, end } = this.#partsOf(slot, from, to);
    this.warm.drop(segment, first, end);
  }

  /** Fills `target` from `at` of `slot`, through the page cache. */
  readSlot(slot: number, at: number, target: Uint8Array): void {
    this.#deps.file.readSync(target, this.offsetOf(slot) + at);
  }

  /** Calls `visit` with the first `length` bytes of `slot`, part by part, read past the page cache. */
  readSlotDirect(slot: number, length: number, visit: (part: Uint8Array, at: number) => void): void {
    for (let at = 0; at < length; at += this.partBytes)
      visit(this.readPartDirect(slot, at, Math.min(this.partBytes, length - at)), at);
  }

  /** `length` bytes from `at` of `slot`, a part's size at most, read past the page cache. They are there until the next part is. */
  readPartDirect(slot: number, at: number, length: number): Uint8Array {
    const staging = this.#staging;
    const padded = Math.ceil(length / pageBytes) * pageBytes;
    this.#deps.file.readDirectSync(staging.subarray(0, padded), this.offsetOf(slot) + at);
    return staging.subarray(0, length);
  }

  /** Where the bytes of `slot` start in the file. */
  offsetOf(slot: number): number {
    const { segment, index, place } = this.#place(slot);
    return slotOffset(this.layout, index, place, segment.slotClass);
  }

  /** Which parts of which segment hold some of bytes [from, to) of `slot`. */
  #partsOf(slot: number, from: number, to: number): { segment: number; first: number; end: number } {
    const { segment, index, place } = this.#place(slot);
    const start = place * (this.layout.classes[segment.slotClass] / warmPartBytes);
    return {
      segment: index,
      first: start + Math.floor(from / warmPartBytes),
      end: start + Math.ceil(to / warmPartBytes),
    };
  }

  /** Where the entry of `slot` lies in the file, and what is there as long as the slot holds what it does. */
  entryPlace(slot: number): { readonly entryOffset: number; readonly entry: Uint8Array } {
    const { segment, index, place } = this.#place(slot);
    const at = place * slotEntryBytes;
    return {
      entryOffset: tableOffset(this.layout, index) + at,
      entry: segment.entries.slice(at, at + slotEntryBytes),
    };
  }

  #place(slot: number): { segment: Segment; index: number; place: number } {
    const index = Math.floor(slot / this.layout.slotsMax);
    const segment = this.#segments[index];
    assert(segment !== null && segment !== undefined, "a slot in use lies in a known segment");
    const place = slot % this.layout.slotsMax;
    assert(place < segment.slots, "a slot lies within its segment");
    return { segment, index, place };
  }

  #write(bytes: Uint8Array, offset: number): void {
    const { file, health } = this.#deps;
    if (health.poison !== null) throw health.poison;
    try {
      file.writeSync(bytes, offset);
    } catch (error) {
      throw health.poisonWith(error);
    }
  }
}

/** The entry says something new of the block whose bytes the slot has held since it was first used. */
function sameBlock(before: SlotEntry, now: EntryFields): boolean {
  const { ref } = before;
  return (
    ref.index === now.ref.index &&
    ref.epoch === now.ref.epoch &&
    ref.volume === now.ref.volume &&
    ref.type === now.ref.type
  );
}
