// BlockChanges: what ends or replaces a block: seal, put, remove. Each is a few steps with an fdatasync between them, and
// runs alone on its block (RefGate). The order of the steps is what a crash between any two of them relies on:
//   seal    bytes durable, then the sealed entry durable
//   put     bytes durable in a slot of their own (and read back when they replace a copy), then the sealed entry durable,
//           then the old slot freed
//   remove  the freeing durable, then the slot is handed out again
// So a sealed entry on disk always has its bytes on disk, and a copy goes only when another stands [C4].

import { sleep } from "#host";
import type { BlockRef, Progress } from "#model";
import { assert, blockRefKey, blockType, crc32, showServed, TorusError } from "#model";
import { durablePositionIn } from "./durable-position.ts";
import type { OpenBlock } from "./open-block.ts";
import { freeEntry } from "./recovery.ts";
import { shareOf } from "./slot-allocator.ts";
import type { SlotEntry } from "./slot-entry-codec.ts";
import type { StoreParts } from "./store-opening.ts";
import { fencedError, heldOtherwise, outOfOrder, sealMismatch } from "./store-refusals.ts";

export type PutPurpose = "write" | "repair";

/**
 * Between two parts of what can wait the disk is left to others, for so many times what the first of them took: a burst is what they would notice. No
 * longer, since somebody waits for the whole, and may be about to fence.
 */
const restShare = 3;
const restMsMin = 5;
const restMsMax = 50;

export class BlockChanges {
  readonly #parts: StoreParts;

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /** Refuses what is below the fence of its volume; raises the fence, durably, to what is above. `records`: what is to be appended then. */
  async admit(ref: BlockRef, records: Uint8Array | null = null): Promise<void> {
    const { fences } = this.#parts;
    this.requireAdmitted(ref);
    await fences.raise(ref.volume, ref.epoch);
    this.requireAdmitted(ref);
    if (records === null) return;
    await this.#noteServed(ref, records);
    this.requireAdmitted(ref);
  }

  /** Whoever holds records that may have been answered knows, durably before he holds them, that their epoch has served [C7]. */
  async #noteServed(ref: BlockRef, records: Uint8Array): Promise<void> {
    const { fences } = this.#parts;
    const { volume, epoch } = ref;
    if (fences.servedEpochOf(volume) >= epoch && !fences.isPending(volume)) return;
    if (showServed(records, epoch)) await fences.serve(volume, epoch);
  }

  /** To be asked again after every wait: a fence, once answered, lets nothing older pass. */
  requireAdmitted(ref: BlockRef): void {
    const { fences, health } = this.#parts;
    health.requireWilling();
    const stored = fences.epochOf(ref.volume);
    if (ref.epoch < stored) throw fencedError(ref.volume, ref.epoch, stored);
  }

  async seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    const { data, index, open, flusher, counters } = this.#parts;
    await this.admit(ref);
    const slot = index.find(ref);
    const block = open.get(slot);
    if (slot !== -1 && block === undefined) {
      const entry = data.entry(slot) as SlotEntry;
      if (entry.length === length && entry.checksum === checksum) return;
      throw sealMismatch(ref, length, checksum, { held: entry.length, checksum: entry.checksum });
    }
    if (block === undefined || block.held < length) throw outOfOrder(ref, length, block?.held ?? 0);
    const sum = block.held === length ? block.checksum : crc32(open.view(block, 0, length));
    if (sum !== checksum) throw sealMismatch(ref, length, checksum, { held: length, checksum: sum });
    if (block.durable < length) {
      open.want(block);
      await flusher.flush();
      this.requireAdmitted(ref);
    }
    assert(block.durable >= length && block.entryWritten, "what is sealed is durable");
    const { durableIndex, durableOffset } = block;
    await flusher.flush(() => {
      this.requireAdmitted(ref);
      data.writeEntry(slot, { state: "sealed", ref, length, checksum, durableIndex, durableOffset });
    });
    open.drop(block);
    counters.writtenBlocks.add(1);
  }

  /** An append to a sealed block repeats what it has, or is wrong. */
  confirmSealed(ref: BlockRef, slot: number, offset: number, bytes: Uint8Array): Progress {
    const { data } = this.#parts;
    const { length: held } = data.entry(slot) as SlotEntry;
    const end = offset + bytes.length;
    if (offset > held) throw outOfOrder(ref, offset, held);
    const overlap = new Uint8Array(Math.min(held, end) - offset);
    if (overlap.length > 0) data.readSlot(slot, offset, overlap);
    if (Buffer.compare(overlap, bytes.subarray(0, overlap.length)) !== 0)
      throw heldOtherwise(ref, offset, held);
    if (end <= held) return { held, durable: held };
    throw new TorusError(
      "mismatch",
      `block ${blockRefKey(ref)} is sealed at ${held}, an append cannot reach ${end}`,
    );
  }

  async put(ref: BlockRef, bytes: Uint8Array, checksum: number, purpose: PutPurpose): Promise<void> {
    const { data, index, open, slots, flusher, health, counters } = this.#parts;
    if (purpose === "write") await this.admit(ref);
    if (ref.type === blockType.data) await this.#noteServed(ref, bytes);
    if (purpose === "write") this.requireAdmitted(ref);
    const old = index.find(ref);
    const block = open.get(old);
    if (old !== -1 && block === undefined && (await this.#verifies(ref, old))) {
      const entry = data.entry(old) as SlotEntry;
      if (entry.length === bytes.length && entry.checksum === checksum) return;
      throw sealMismatch(ref, bytes.length, checksum, { held: entry.length, checksum: entry.checksum });
    }
    // A copy that is put right gives its slot back: it may use what is kept for what saves data.
    const share = purpose === "repair" && old !== -1 ? "checkpoint" : shareOf(ref);
    const slot = await slots.allocate(bytes.length, share);
    try {
      if (purpose === "write") this.requireAdmitted(ref);
      await this.#stage(slot, bytes, purpose);
      await flusher.flush();
      if (old !== -1 && !(await this.#matches(slot, bytes.length, checksum))) {
        throw health.poisonWith(new TorusError("io", "bytes written do not read back the same"));
      }
      if (purpose === "write") this.requireAdmitted(ref);
    } catch (error) {
      if (health.poison === null) slots.giveBack(slot);
      throw error;
    }
    data.writeEntry(slot, {
      state: "sealed",
      ref,
      length: bytes.length,
      checksum,
      ...positionIn(ref, bytes),
    });
    await flusher.flush();
    index.set(ref, slot);
    if (block !== undefined) open.drop(block);
    // Waited for: else a removal of the new copy might become durable first, and a crash bring the old one back.
    if (old !== -1) await this.#release(old);
    counters.writtenBlocks.add(1);
    counters.writtenBytes.add(bytes.length);
  }

  /** True when there was such a block and it is gone. */
  async remove(ref: BlockRef, mayRemove: () => boolean): Promise<boolean> {
    const { index, open, health, counters } = this.#parts;
    health.requireWilling();
    const slot = index.find(ref);
    if (slot === -1 || !mayRemove()) return false;
    const block = open.get(slot);
    if (block !== undefined) open.drop(block);
    index.delete(ref);
    await this.#release(slot);
    counters.deletedBlocks.add(1);
    return true;
  }

  /** Whether the sealed copy passes its own checksum; null when there is none. */
  async verify(ref: BlockRef): Promise<boolean | null> {
    const { index, open } = this.#parts;
    const slot = index.find(ref);
    if (slot === -1 || open.get(slot) !== undefined) return null;
    return this.#verifies(ref, slot);
  }

  /** A new open block takes the place of one whose slot counts for nothing. */
  replaceOpen(block: OpenBlock): void {
    this.#parts.open.drop(block);
    this.#release(block.slot).catch(() => {
      // The store is poisoned by now: nothing is handed out any more.
    });
  }

  /** Frees a slot whose block is elsewhere by now, or gone; it is handed out again when that is durable. */
  async #release(slot: number): Promise<void> {
    const { data, slots, flusher } = this.#parts;
    freeEntry(data, slot);
    slots.freeing(slot);
    await flusher.flush();
    slots.freed(slot);
  }

  /**
   * Writes `bytes` from the start of `slot`, in parts: the disk is written synchronously, so others are served in between. None of it is made durable
   * by itself: each flush for what can wait is one more that users wait for.
   */
  async #stage(slot: number, bytes: Uint8Array, purpose: PutPurpose): Promise<void> {
    const { data, clock } = this.#parts;
    let tookMs = 0;
    for (let at = 0; at < bytes.length; at += data.partBytes) {
      const restMs = Math.min(restMsMax, Math.max(restMsMin, restShare * tookMs));
      if (at > 0) await sleep(clock, purpose === "repair" ? restMs : 0);
      const beganMs = clock.monotonicMs();
      data.stagePart(slot, at, bytes.subarray(at, at + data.partBytes));
      tookMs = clock.monotonicMs() - beganMs;
    }
  }

  /** The sealed copy in `slot`, read past the page cache, passes its own checksum. */
  async #verifies(ref: BlockRef, slot: number): Promise<boolean> {
    const { data, counters, log } = this.#parts;
    const entry = data.entry(slot) as SlotEntry;
    if (await this.#matches(slot, entry.length, entry.checksum)) return true;
    counters.failedBlocks.add(1);
    log.error("A sealed block does not match its checksum.", { block: blockRefKey(ref) });
    return false;
  }

  /** In parts, as `#stage`. */
  async #matches(slot: number, length: number, checksum: number): Promise<boolean> {
    const { data, clock, log } = this.#parts;
    let sum = 0;
    try {
      for (let at = 0; at < length; at += data.partBytes) {
        if (at > 0) await sleep(clock, 0);
        sum = crc32(data.readPartDirect(slot, at, Math.min(data.partBytes, length - at)), sum);
      }
    } catch (error) {
      // A sector that cannot be read is as good as one that is wrong.
      log.error("A block cannot be read.", { error });
      return false;
    }
    return sum === checksum;
  }
}

function positionIn(ref: BlockRef, bytes: Uint8Array): { durableIndex: number; durableOffset: number } {
  if (ref.type !== blockType.data) return { durableIndex: 0, durableOffset: 0 };
  const { index, offset } = durablePositionIn(bytes, ref, 0);
  return { durableIndex: index, durableOffset: offset };
}
