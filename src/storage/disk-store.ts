// DiskStore: a BlockStore in one directory of one disk. It runs on the thread that serves its network: reads and writes
// are short and synchronous, only fdatasync is waited for, so nothing changes between a check and its act.
//
// Invariants: an append is answered when its bytes are verified and in memory; *durable* is what was written, with its slot
// entry, before an fdatasync started that then succeeded; a fence is durable before it is answered, and after the answer
// nothing older is accepted. docs/formats/store.md describes the files, store-opening.ts how they are read.

import type {
  AppendPurpose,
  BlockRef,
  BlockSpot,
  BlockStatus,
  BlockStore,
  Epoch,
  FenceBasis,
  FenceReport,
  ListPage,
  MetadataView,
  PeerId,
  Progress,
  StoreUsage,
  StoreWitness,
  TakeMemory,
  Testimony,
  VolumeId,
} from "#model";
import {
  blockBytesMax,
  blockRefKey,
  blockType,
  crc32,
  pageBytes,
  requireAllRecords,
  showServed,
  TorusError,
  verifyRecords,
  volumeIdMax,
} from "#model";
import { BlockChanges, type PutPurpose } from "./block-changes.ts";
import { BlockReads } from "./block-reads.ts";
import { OpenBlock } from "./open-block.ts";
import { RefGate } from "./ref-gate.ts";
import type { Share } from "./slot-allocator.ts";
import { shareOf } from "./slot-allocator.ts";
import type { SlotEntry } from "./slot-entry-codec.ts";
import { type DiskStoreDeps, type DiskStoreOptions, openParts, type StoreParts } from "./store-opening.ts";
import {
  fencedError,
  heldOtherwise,
  outOfOrder,
  pastCapacity,
  requireInteger,
  requireKnowing,
  requirePages,
  requireRef,
  requireReportable,
  usedError,
} from "./store-refusals.ts";
import { testimonyOf, tracesOf } from "./testimony.ts";

export class DiskStore implements BlockStore, StoreWitness {
  readonly peer: PeerId;
  /** Raised durably at each open. */
  readonly incarnation: number;
  readonly #parts: StoreParts;
  readonly #changes: BlockChanges;
  readonly #reads: BlockReads;
  readonly #gate = new RefGate();
  readonly #sizeBytes: number;
  #closing: Promise<void> | null = null;

  /**
   * Opens the store in `deps.disk`, making it first in an empty directory. Rejects with `busy` (another process has it),
   * `invalid-argument` (not a store, or not of this size), `unsupported` (another format), `corrupt`, `io`.
   */
  static async open(options: DiskStoreOptions, deps: DiskStoreDeps): Promise<DiskStore> {
    return new DiskStore(options, await openParts(options, deps));
  }

  private constructor(options: DiskStoreOptions, parts: StoreParts) {
    this.peer = parts.identity.peer;
    this.incarnation = parts.identity.incarnation;
    this.#sizeBytes = options.sizeBytes;
    this.#parts = parts;
    this.#changes = new BlockChanges(parts);
    this.#reads = new BlockReads(parts);
  }

  /** Why the store promises nothing any more; null while it does. */
  get poison(): TorusError | null {
    return this.#parts.health.poison;
  }

  append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose: AppendPurpose = "data",
  ): Promise<Progress> {
    const { fences, index, open, health, counters } = this.#parts;
    try {
      health.requireSound();
      requireRef(ref);
      requirePages("the offset", offset, 0, blockBytesMax);
      requirePages("the length", bytes.length, pageBytes, blockBytesMax);
      requirePages("the capacity", capacityBytes, pageBytes, this.#parts.layout.blockBytes);
      const stored = fences.epochOf(ref.volume);
      if (ref.epoch < stored) throw fencedError(ref.volume, ref.epoch, stored);
      if (ref.epoch === stored && !fences.isPending(ref.volume) && !this.#gate.busy(ref)) {
        const block = open.get(index.find(ref));
        const isServed = fences.servedEpochOf(ref.volume) >= ref.epoch || !showServed(bytes, ref.epoch);
        if (block !== undefined && !block.distrusted && isServed) {
          return Promise.resolve(this.#appendTo(block, offset, bytes));
        }
      }
    } catch (error) {
      counters.failedWrittenBlocks.add(1);
      return Promise.reject(error);
    }
    const first = () => this.#appendFirst(ref, offset, bytes, capacityBytes, shareOf(ref, purpose));
    return this.#counted(this.#gate.run(ref, first));
  }

  async sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    const { index, open, flusher, health, fences } = this.#parts;
    health.requireSound();
    await this.#gate.afterRefs(refs);
    health.requireWilling();
    let behind = false;
    for (const ref of refs) {
      const stored = fences.epochOf(ref.volume);
      if (ref.epoch < stored) throw fencedError(ref.volume, ref.epoch, stored);
      const block = open.get(index.find(ref));
      if (block === undefined || block.durable === block.held) continue;
      open.want(block);
      behind = true;
    }
    if (behind) await flusher.flush();
    return refs.map((ref) => {
      const { held, durable } = this.#statusOf(ref, index.find(ref));
      return { held, durable };
    });
  }

  read(ref: BlockRef, offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    return this.#reads.read(ref, offset, length, take);
  }

  async seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    this.#parts.health.requireSound();
    requireRef(ref);
    requireInteger("the length", length, 1, blockBytesMax);
    requireInteger("the checksum", checksum, 0, 2 ** 32 - 1);
    await this.#counted(this.#gate.run(ref, () => this.#changes.seal(ref, length, checksum)));
  }

  async put(ref: BlockRef, bytes: Uint8Array, checksum: number, purpose: PutPurpose): Promise<void> {
    this.#parts.health.requireSound();
    requireRef(ref);
    requireInteger("the length", bytes.length, 1, this.#parts.layout.blockBytes);
    if (crc32(bytes) !== checksum) {
      throw new TorusError(
        "corrupt",
        `the bytes put as block ${blockRefKey(ref)} do not match their checksum`,
      );
    }
    await this.#counted(this.#gate.run(ref, () => this.#changes.put(ref, bytes, checksum, purpose)));
  }

  /**
   * Drops a block, durably when it resolves; false when there is none, or `mayRemove`, asked in that very turn, says no.
   */
  async remove(ref: BlockRef, mayRemove: () => boolean = () => true): Promise<boolean> {
    this.#parts.health.requireSound();
    try {
      return await this.#gate.run(ref, () => this.#changes.remove(ref, mayRemove));
    } catch (error) {
      this.#parts.counters.failedDeletedBlocks.add(1);
      throw error;
    }
  }

  /** Whether the sealed copy of `ref`, read past the page cache, passes its own checksum; null when there is none. */
  async verify(ref: BlockRef): Promise<boolean | null> {
    this.#parts.health.requireOpen();
    return this.#gate.run(ref, async () => this.#changes.verify(ref));
  }

  async stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    this.#parts.health.requireOpen();
    return refs.map((ref) => this.#statusOf(ref, this.#parts.index.find(ref)));
  }

  async list(after: BlockRef | null, limit: number): Promise<ListPage> {
    this.#parts.health.requireOpen();
    requireInteger("the limit", limit, 1, Number.MAX_SAFE_INTEGER);
    const found = this.#parts.index.after(after, limit + 1);
    const blocks = found.slice(0, limit).map(({ ref, slot }) => this.#statusOf(ref, slot));
    return { blocks, next: found.length > limit ? blocks[limit - 1].ref : null };
  }

  async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const { fences, health, memory, index } = this.#parts;
    memory.requireFresh();
    requireInteger("the volume", volume, 0, volumeIdMax);
    requireInteger("the epoch", epoch, 1, Number.MAX_SAFE_INTEGER);
    const stored = fences.epochOf(volume);
    if (epoch < stored) throw fencedError(volume, epoch, stored);
    if (index.hasEpoch(volume, epoch)) throw usedError(volume, epoch);
    requireKnowing(basis, volume, memory.kept.view, fences.servedEpochOf(volume));
    // Older epochs are refused from here on; what passed before is waited for, or finds the fence when it looks again [C1].
    await fences.raise(volume, epoch);
    await this.#gate.afterVolume(volume);
    health.requireWilling();
    const now = fences.epochOf(volume);
    if (epoch < now) throw fencedError(volume, epoch, now);
    return this.#reportOf(volume, epoch, logEpoch, fromIndex);
  }

  async testify(after: VolumeId, limit: number): Promise<Testimony> {
    const { memory, fences, index } = this.#parts;
    return testimonyOf(memory.kept, tracesOf(fences.epochs, index.volumes()), after, limit);
  }

  /** Shows the store the metadata, read after all it was shown before (MetadataMemory). Not for the network. */
  observe(view: MetadataView, proof: string): string {
    this.#parts.health.requireOpen();
    return this.#parts.memory.observe(view, proof);
  }

  /** Why the metadata shown last is refused, and with it every change; "" while it is not. */
  get behind(): string {
    return this.#parts.memory.kept.behind;
  }

  async usage(): Promise<StoreUsage> {
    const { health, slots, index } = this.#parts;
    health.requireOpen();
    const { usedBytes, availableBytes } = slots;
    return { sizeBytes: this.#sizeBytes, usedBytes, blocks: index.size, availableBytes };
  }

  /** Lets what is under way end, makes all that is held durable, and gives the directory back. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Where in blocks.torus the bytes of a block lie that were written, for readers on this machine. Not for the network as it is. */
  spotOf(ref: BlockRef): BlockSpot | null {
    return this.#reads.spotOf(ref);
  }

  /** Where a block's bytes start in blocks.torus, for tools that look at the file; null when it is not here. */
  placeOf(ref: BlockRef): number | null {
    const slot = this.#parts.index.find(ref);
    return slot === -1 ? null : this.#parts.data.offsetOf(slot);
  }

  async #close(): Promise<void> {
    const { health, slots, open, flusher, file, fences, memory, disk, cuts } = this.#parts;
    memory.save();
    health.close();
    await slots.close();
    await this.#gate.afterVolume(null);
    try {
      open.wantAll();
      if (health.poison === null) await flusher.flush();
      if (health.poison === null) cuts.leave();
    } finally {
      open.close();
      fences.close();
      file.close();
      disk.close();
    }
  }

  async #counted<T>(change: Promise<T>): Promise<T> {
    try {
      return await change;
    } catch (error) {
      this.#parts.counters.failedWrittenBlocks.add(1);
      throw error;
    }
  }

  /** An append that may have to wait: for its fence, or that its epoch has served, to be durable, for a slot, behind a seal. */
  async #appendFirst(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    share: Share,
  ): Promise<Progress> {
    const { data, index, open, slots } = this.#parts;
    await this.#changes.admit(ref, bytes);
    const found = index.find(ref);
    const old = open.get(found);
    if (old !== undefined && !old.distrusted) return this.#appendTo(old, offset, bytes);
    if (found !== -1 && old === undefined) return this.#changes.confirmSealed(ref, found, offset, bytes);
    if (offset > 0) throw outOfOrder(ref, offset, 0);
    if (bytes.length > capacityBytes) throw pastCapacity(ref, bytes.length, capacityBytes);
    requireAllRecords(verifyRecords(bytes, ref, 0, 0, null), bytes.length, ref, 0);
    const slot = await slots.allocate(capacityBytes, share);
    try {
      this.#changes.requireAdmitted(ref);
    } catch (error) {
      slots.giveBack(slot);
      throw error;
    }
    const block = new OpenBlock({
      ref,
      slot,
      slotClass: data.classOf(slot),
      capacity: capacityBytes,
      entryWritten: false,
      cut: false,
      damaged: false,
      distrusted: false,
    });
    if (old !== undefined) this.#changes.replaceOpen(old);
    open.add(block);
    index.set(ref, slot);
    return this.#appendTo(block, 0, bytes);
  }

  #appendTo(block: OpenBlock, offset: number, bytes: Uint8Array): Progress {
    const { open, counters } = this.#parts;
    const { ref, held } = block;
    const end = offset + bytes.length;
    if (offset > held) throw outOfOrder(ref, offset, held);
    const overlap = Math.min(held, end) - offset;
    if (overlap > 0 && !open.holds(block, offset, bytes.subarray(0, overlap)))
      throw heldOtherwise(ref, offset, held);
    if (end <= held) return { held, durable: block.durable };
    if (end > block.capacity) throw pastCapacity(ref, end, block.capacity);
    const fresh = overlap === 0 ? bytes : bytes.subarray(overlap);
    const verified = verifyRecords(fresh, ref, held, block.checksum, block.last);
    requireAllRecords(verified, fresh.length, ref, held);
    open.copyIn(block, fresh);
    block.extend(verified);
    block.damaged = false;
    counters.writtenBytes.add(fresh.length);
    counters.appendedBytes.add(fresh.length);
    open.noteDirty(block);
    return { held: block.held, durable: block.durable };
  }

  #statusOf(ref: BlockRef, slot: number): BlockStatus {
    if (slot === -1) {
      return { ref, state: "absent", held: 0, durable: 0, checksum: 0, cut: false, damaged: false };
    }
    const block = this.#parts.open.get(slot);
    if (block !== undefined) {
      const { held, durable, checksum, cut, damaged } = block;
      return { ref, state: "open", held, durable, checksum, cut, damaged };
    }
    const { length, checksum } = this.#parts.data.entry(slot) as SlotEntry;
    return { ref, state: "sealed", held: length, durable: length, checksum, cut: false, damaged: false };
  }

  #reportOf(volume: VolumeId, epoch: Epoch, logEpoch: Epoch, fromIndex: number): FenceReport {
    const { data, index, open } = this.#parts;
    const blocks: BlockStatus[] = [];
    let durableIndex = 0;
    let durableOffset = 0;
    for (const { ref, slot } of index.group(volume, logEpoch, blockType.data)) {
      if (ref.index >= fromIndex) blocks.push(this.#statusOf(ref, slot));
      const named = open.get(slot) ?? (data.entry(slot) as SlotEntry);
      if (named.durableIndex < durableIndex) continue;
      if (named.durableIndex > durableIndex || named.durableOffset > durableOffset) {
        durableIndex = named.durableIndex;
        durableOffset = named.durableOffset;
      }
    }
    requireReportable(volume, blocks);
    return { epoch, blocks, durableIndex, durableOffset, cutEpoch: this.#parts.cuts.epochOf(volume) };
  }
}
