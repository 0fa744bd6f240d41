// Recovery: what a store finds at open. Sealed entries are taken at their word (length, checksum: whoever relies on the
// bytes verifies them); of an open block only the longest run of valid records that name it counts, read past the page
// cache. What does not verify beyond that is reported as damage, never erased: a torn tail and rot look the same here,
// and only the volume's recovery, which asks all members, may tell [C13].
//
// The caller has run one fdatasync before, so that what is read here is on the disk and not in its cache.

import type { Log } from "#host";
import type { RecordFrame } from "#model";
import { blockRefKey, blockType, decodeRecordFrame, pageBytes, verifyRecords } from "#model";
import type { BlockIndex } from "./block-index.ts";
import type { DataFile } from "./data-file.ts";
import { durablePositionIn } from "./durable-position.ts";
import { OpenBlock } from "./open-block.ts";
import type { OpenBlocks } from "./open-blocks.ts";
import type { SlotAllocator } from "./slot-allocator.ts";
import type { SlotEntry } from "./slot-entry-codec.ts";
import { isZero } from "./slot-entry-codec.ts";
import type { FoundTables } from "./table-scan.ts";

export interface RecoveryDeps {
  readonly data: DataFile;
  readonly index: BlockIndex;
  readonly open: OpenBlocks;
  readonly slots: SlotAllocator;
  readonly log: Log;
  /** Aligned, of the size of the largest slot. */
  readonly buffer: Uint8Array;
}

export interface Recovered {
  /** Slots of copies that another copy of the same block stands above: freed, not durably yet. */
  readonly freed: readonly number[];
  readonly damagedBlocks: number;
}

/** Fills index, open blocks and free slots from the tables. Entries it changes are written, not flushed. */
export function recoverBlocks(tables: FoundTables, deps: RecoveryDeps): Recovered {
  const { data, index, slots, log } = deps;
  const freed: number[] = [];
  for (const slot of tables.free) slots.found(slot, true);
  for (const slot of tables.used) {
    slots.found(slot, false);
    const entry = data.entry(slot) as SlotEntry;
    const other = index.find(entry.ref);
    if (other === -1) {
      index.set(entry.ref, slot);
      continue;
    }
    // A crash between the switch to a new copy and the freeing of the old one.
    const loser = isAbove(entry, data.entry(other) as SlotEntry) ? other : slot;
    if (loser === other) index.set(entry.ref, slot);
    freed.push(loser);
  }
  for (const slot of freed) freeEntry(data, slot);
  let damagedBlocks = 0;
  for (const slot of tables.damaged) {
    slots.found(slot, false);
    if (rebuildEntry(slot, deps)) damagedBlocks += 1;
  }
  for (const { ref, slot } of index.after(null, Number.MAX_SAFE_INTEGER)) {
    const entry = data.entry(slot) as SlotEntry;
    if (entry.state !== "open") continue;
    const block = recoverOpenBlock(slot, entry, deps);
    if (block === null) {
      index.delete(ref);
      freeEntry(data, slot);
      freed.push(slot);
      continue;
    }
    deps.open.add(block);
    if (block.damaged) {
      damagedBlocks += 1;
      log.warn("Bytes at the end of an open block do not verify: a torn tail, or rot.", {
        block: blockRefKey(ref),
        held: block.held,
      });
    }
  }
  return { freed, damagedBlocks };
}

export function freeEntry(data: DataFile, slot: number): void {
  const ref = data.entry(slot)?.ref ?? { type: 0, volume: 0, epoch: 0, index: 0 };
  data.writeEntry(slot, { state: "free", ref, length: 0, checksum: 0 });
}

/** Of two copies of a block: a sealed one stands above an open one, a later one above an earlier one. */
function isAbove(entry: SlotEntry, other: SlotEntry): boolean {
  if ((entry.state === "sealed") !== (other.state === "sealed")) return entry.state === "sealed";
  return entry.sequence > other.sequence;
}

/** The open block in `slot`; null when nothing was ever written of it. */
function recoverOpenBlock(slot: number, entry: SlotEntry, deps: RecoveryDeps): OpenBlock | null {
  const { data, buffer } = deps;
  const { ref } = entry;
  const bytes = buffer.subarray(0, entry.length);
  data.readSlotDirect(slot, entry.length, (part, at) => bytes.set(part, at));
  const trusted = entry.distrusted ? bytes.subarray(0, 0) : bytes;
  const verified = verifyRecords(trusted, ref, 0, 0, null);
  // In a slot that held nothing before, any byte beyond that is not zero is damage; in a reused one, whatever claims to
  // be a record of this block.
  const rest = durablePositionIn(bytes, ref, verified.length);
  const stray = !entry.reused && !isZero(bytes.subarray(verified.length));
  const damaged = rest.claimed || stray || entry.distrusted;
  if (verified.length === 0 && !damaged) return null;
  const block = new OpenBlock({
    ref,
    slot,
    slotClass: data.classOf(slot),
    capacity: entry.length,
    entryWritten: true,
    cut: true,
    damaged,
    distrusted: entry.distrusted,
  });
  block.extend(verified);
  block.written = block.held;
  block.durable = block.held;
  block.noteDurable(rest.index, rest.offset);
  return block;
}

/**
 * A slot whose entry is damaged. When its bytes start as a block of a log does, the block is kept in the index with
 * nothing held and marked as damaged: "absent" would be a lie that could end a log too early. True then; otherwise the
 * slot is set aside.
 */
function rebuildEntry(slot: number, deps: RecoveryDeps): boolean {
  const { data, index, log } = deps;
  let first: RecordFrame | null = null;
  data.readSlotDirect(slot, pageBytes, (page) => {
    first = decodeRecordFrame(page, 0);
  });
  const ref = (first as RecordFrame | null)?.ref ?? null;
  if (ref === null || ref.type !== blockType.data || index.find(ref) !== -1) {
    log.error("A slot's entry is damaged; the slot is set aside.", { slot });
    const none = { type: 0, volume: 0, epoch: 0, index: 0 };
    data.writeEntry(slot, { state: "lost", ref: none, length: 0, checksum: 0 });
    return false;
  }
  log.error("The entry of a block is damaged; the block counts as not held.", { block: blockRefKey(ref) });
  const length = data.slotBytes(slot);
  data.writeEntry(slot, { state: "open", ref, length, checksum: 0, distrusted: true });
  index.set(ref, slot);
  return true;
}
