// TableScan: reads the tables of all segments at open, past the page cache. The segments lie at a fixed stride, so a
// damaged header costs nothing but itself: its slot class stands in the entries too, and it is written again.

import type { Disk, DiskFile, Log } from "#host";
import { pageBytes, TorusError } from "#model";
import type { DataFile } from "./data-file.ts";
import type { SlotClass } from "./layout.ts";
import { segmentOffset, slotEntryBytes, slotsOf } from "./layout.ts";
import type { DecodedEntry } from "./slot-entry-codec.ts";
import { decodeSegmentHeader, decodeSlotEntry, isZero } from "./slot-entry-codec.ts";

export interface TableScanDeps {
  readonly data: DataFile;
  readonly file: DiskFile;
  readonly disk: Disk;
  readonly log: Log;
}

/** Slot numbers, by what their entries say. */
export interface FoundTables {
  readonly free: number[];
  /** Open, sealed. */
  readonly used: number[];
  /** Entries that do not verify. */
  readonly damaged: number[];
}

/** Takes all segments of the file into `data`. Throws `corrupt` when the file was cut off, `io` when it cannot be read. */
export function scanTables(deps: TableScanDeps): FoundTables {
  const { data, file, disk } = deps;
  const { layout } = data;
  const found: FoundTables = { free: [], used: [], damaged: [] };
  const buffer = disk.allocateAligned(pageBytes + layout.tableBytes);
  const sizeBytes = file.sizeBytes();
  const count = Math.ceil(sizeBytes / layout.strideBytes);
  for (let index = 0; index < count; index++) {
    const at = segmentOffset(layout, index);
    const header = buffer.subarray(0, pageBytes);
    // A last segment that was cut off while it was zero-filled may even lack its header.
    if (at + pageBytes > sizeBytes) break;
    file.readDirectSync(header, at);
    const decoded = decodeSegmentHeader(header, data.peer, index);
    if (decoded === "unused" && index === count - 1) break;
    if (at + layout.strideBytes > sizeBytes) {
      throw new TorusError(
        "corrupt",
        `the data file ends at byte ${sizeBytes}, in the middle of segment ${index}: something cut it off. Empty the directory to start this disk as a new peer`,
      );
    }
    let slotClass: SlotClass | null = null;
    if (typeof decoded !== "string" && decoded.slotBytes === layout.classes[decoded.slotClass]) {
      slotClass = decoded.slotClass;
    }
    addSegment(deps, index, slotClass, buffer, found);
  }
  return found;
}

function addSegment(
  deps: TableScanDeps,
  index: number,
  headerClass: SlotClass | null,
  buffer: Uint8Array,
  found: FoundTables,
): void {
  const { data, file, log } = deps;
  const { layout } = data;
  const slots = headerClass === null ? layout.slotsMax : slotsOf(layout, headerClass);
  const tableBytes = Math.ceil((slots * slotEntryBytes) / pageBytes) * pageBytes;
  const table = buffer.subarray(pageBytes, pageBytes + tableBytes);
  file.readDirectSync(table, segmentOffset(layout, index) + pageBytes);
  const slotClass = headerClass ?? classInTable(deps, index, table);
  if (slotClass === null) {
    log.error("A segment's header and table are damaged; it is set aside with all its blocks.", {
      segment: index,
    });
    data.addSegment(null);
    return;
  }
  const used = slotsOf(layout, slotClass);
  data.addSegment({ slotClass, slots: used, entries: table.slice(0, used * slotEntryBytes) });
  if (headerClass === null) {
    log.error("A segment's header was damaged and is written again.", { segment: index });
    data.writeHeader(index, slotClass);
  }
  for (let place = 0; place < used; place++) noteEntry(deps, table, index, place, found);
}

function noteEntry(
  deps: TableScanDeps,
  table: Uint8Array,
  index: number,
  place: number,
  found: FoundTables,
): void {
  const slot = index * deps.data.layout.slotsMax + place;
  const entry = entryAt(deps, table, index, place);
  if (entry === "unused") found.free.push(slot);
  else if (entry === "damaged") found.damaged.push(slot);
  else {
    deps.data.skipSequence(entry.sequence);
    if (entry.state === "free") found.free.push(slot);
    // A slot set aside at an earlier start gets another look: it stays set aside, or its block is named.
    else if (entry.state === "lost") found.damaged.push(slot);
    else found.used.push(slot);
  }
}

function entryAt(deps: TableScanDeps, table: Uint8Array, index: number, place: number): DecodedEntry {
  const { layout, checksumSeed } = deps.data;
  const slot = index * layout.slotsMax + place;
  return decodeSlotEntry(table, place * slotEntryBytes, checksumSeed, slot);
}

/** The slot class by the entries of a segment without a header; null when no entry verifies though some are there. */
function classInTable(deps: TableScanDeps, index: number, table: Uint8Array): SlotClass | null {
  const { layout } = deps.data;
  if (isZero(table)) return layout.classes.length - 1;
  for (let place = 0; place < table.length / slotEntryBytes; place++) {
    const entry = entryAt(deps, table, index, place);
    if (typeof entry !== "string" && entry.slotClass < layout.classes.length) return entry.slotClass;
  }
  return null;
}
