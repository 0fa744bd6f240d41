// MemoryStore: a BlockStore in memory, with the full meaning of one: fences, overlap compare, seals, damaged tails after
// a restart. Tests use it where no disk is wanted, and it says what a store on disk must do. Each call takes effect whole before it returns its promise, so no call can pass the fence check of a moment ago.
// Bytes are durable after `sync`, `seal` or `put`; `restart` shows what a peer has after its process or power was lost.

import type {
  AppendPurpose,
  BlockRef,
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
  Testimony,
  VolumeId,
} from "#model";
import {
  blockBytesMax,
  blockRefKey,
  blockType,
  crc32,
  metadataBehind,
  pageBytes,
  requireAllRecords,
  showServed,
  TorusError,
  verifyRecords,
} from "#model";
import { compareBlockRefs } from "./block-order.ts";
import type { MemoryBlock } from "./memory-block.ts";
import { logOf, reserve, sameBytes, statusOf } from "./memory-block.ts";
import { MetadataMemoryMachine, nothingKept } from "./metadata-memory-machine.ts";
import {
  fencedError,
  heldOtherwise,
  outOfOrder,
  pastCapacity,
  requireInteger,
  requireKnowing,
  requirePages,
  sealMismatch,
  usedError,
} from "./store-refusals.ts";
import { testimonyOf, tracesOf } from "./testimony.ts";

export interface MemoryStoreOptions {
  readonly peer: PeerId;
  /** Room for blocks, counted at their capacity. */
  readonly sizeBytes: number;
  /** Kept back from new data, half of it for what frees space; checkpoints may use all. */
  readonly reserveBytes?: number;
}

export class MemoryStore implements BlockStore, StoreWitness {
  readonly peer: PeerId;
  readonly #sizeBytes: number;
  readonly #reserveBytes: number;
  readonly #blocks = new Map<string, MemoryBlock>();
  readonly #fences = new Map<VolumeId, Epoch>();
  readonly #served = new Map<VolumeId, Epoch>();
  readonly #memory = new MetadataMemoryMachine(nothingKept);
  #fencesAtStart: ReadonlyMap<VolumeId, Epoch> = new Map();
  #incarnation = 1;
  #usedBytes = 0;
  #closed = false;
  #poisoned = false;

  constructor(options: MemoryStoreOptions) {
    this.peer = options.peer;
    this.#sizeBytes = options.sizeBytes;
    this.#reserveBytes = options.reserveBytes ?? 0;
  }

  /** Blocks that are being appended, for tests that want to hit one. */
  get openBlocks(): number {
    return [...this.#blocks.values()].filter((block) => !block.sealed).length;
  }

  /** Raised by every `restart`. */
  get incarnation(): number {
    return this.#incarnation;
  }

  async append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose: AppendPurpose = "data",
  ): Promise<Progress> {
    this.#requireWilling();
    requirePages("the offset", offset, 0, blockBytesMax);
    requirePages("the length", bytes.length, pageBytes, blockBytesMax);
    requirePages("the capacity", capacityBytes, pageBytes, blockBytesMax);
    this.#admit(ref);
    const block = this.#blocks.get(blockRefKey(ref));
    const held = block?.held ?? 0;
    const end = offset + bytes.length;
    if (offset > held) throw outOfOrder(ref, offset, held);
    if (block !== undefined && !sameBytes(block.bytes, offset, bytes, Math.min(held, end) - offset)) {
      throw heldOtherwise(ref, offset, held);
    }
    if (block !== undefined && end <= held) return { held, durable: block.durable };
    if (block?.sealed) {
      throw new TorusError(
        "mismatch",
        `block ${blockRefKey(ref)} is sealed at ${held}, an append cannot reach ${end}`,
      );
    }
    const capacity = block?.capacity ?? capacityBytes;
    if (end > capacity) throw pastCapacity(ref, end, capacity);
    const fresh = bytes.subarray(held - offset);
    const verified = verifyRecords(fresh, ref, held, block?.checksum ?? 0, block?.last ?? null);
    requireAllRecords(verified, fresh.length, ref, held);
    const target = block ?? this.#openBlock(ref, capacity, this.#kept(purpose));
    this.#noteServed(ref, fresh);
    reserve(target, end);
    target.bytes.set(fresh, held);
    target.held = end;
    target.checksum = verified.blockChecksum;
    target.last = verified.last;
    return { held: end, durable: target.durable };
  }

  async sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    this.#requireWilling();
    for (const ref of refs) {
      const stored = this.#fences.get(ref.volume) ?? 0;
      if (ref.epoch < stored) throw fencedError(ref.volume, ref.epoch, stored);
    }
    return refs.map((ref) => {
      const block = this.#blocks.get(blockRefKey(ref));
      if (block === undefined) return { held: 0, durable: 0 };
      block.durable = block.held;
      return { held: block.held, durable: block.durable };
    });
  }

  async read(ref: BlockRef, offset: number, length: number): Promise<Uint8Array> {
    this.#requireUsable();
    requireInteger("the offset", offset, 0, blockBytesMax);
    requireInteger("the length", length, 1, blockBytesMax);
    const block = this.#blocks.get(blockRefKey(ref));
    if (block === undefined || offset + length > block.held) {
      throw new TorusError(
        "not-found",
        `bytes ${offset} to ${offset + length} of block ${blockRefKey(ref)} are not here: ${block?.held ?? 0} are held`,
        { held: block?.held ?? 0 },
      );
    }
    return block.bytes.slice(offset, offset + length);
  }

  async seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    this.#requireWilling();
    requireInteger("the length", length, 1, blockBytesMax);
    this.#admit(ref);
    const block = this.#blocks.get(blockRefKey(ref));
    if (block?.sealed) {
      if (block.held === length && block.checksum === checksum) return;
      throw sealMismatch(ref, length, checksum, block);
    }
    if (block === undefined || block.held < length) throw outOfOrder(ref, length, block?.held ?? 0);
    const sum = block.held === length ? block.checksum : crc32(block.bytes.subarray(0, length));
    if (sum !== checksum) throw sealMismatch(ref, length, checksum, { held: length, checksum: sum });
    block.sealed = true;
    block.held = length;
    block.durable = length;
    block.checksum = checksum;
    block.cut = false;
    block.damagedEnd = 0;
  }

  async put(ref: BlockRef, bytes: Uint8Array, checksum: number, purpose: "write" | "repair"): Promise<void> {
    this.#requireWilling();
    requireInteger("the length", bytes.length, 1, blockBytesMax);
    if (purpose === "write") this.#admit(ref);
    if (crc32(bytes) !== checksum) {
      throw new TorusError(
        "corrupt",
        `the bytes put as block ${blockRefKey(ref)} do not match their checksum`,
      );
    }
    const block = this.#blocks.get(blockRefKey(ref));
    if (block?.sealed && crc32(block.bytes.subarray(0, block.held)) === block.checksum) {
      if (block.held === bytes.length && block.checksum === checksum) return;
      throw sealMismatch(ref, bytes.length, checksum, block);
    }
    this.#noteServed(ref, bytes);
    const capacity = Math.ceil(bytes.length / pageBytes) * pageBytes;
    const target =
      block ?? this.#openBlock(ref, capacity, ref.type === blockType.inode ? 0 : this.#reserveBytes);
    if (capacity > target.capacity) {
      this.#take(capacity - target.capacity, 0);
      target.capacity = capacity;
    }
    // Not `slice`: that of a Buffer is a view.
    target.bytes = Uint8Array.from(bytes);
    target.held = bytes.length;
    target.durable = bytes.length;
    target.checksum = checksum;
    target.sealed = true;
    target.cut = false;
    target.damagedEnd = 0;
  }

  async stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    this.#requireUsable();
    return refs.map((ref) => statusOf(ref, this.#blocks.get(blockRefKey(ref))));
  }

  async list(after: BlockRef | null, limit: number): Promise<ListPage> {
    this.#requireUsable();
    requireInteger("the limit", limit, 1, Number.MAX_SAFE_INTEGER);
    const rest = [...this.#blocks.values()]
      .filter((block) => after === null || compareBlockRefs(block.ref, after) > 0)
      .sort((a, b) => compareBlockRefs(a.ref, b.ref));
    const blocks = rest.slice(0, limit).map((block) => statusOf(block.ref, block));
    return { blocks, next: rest.length > limit ? blocks[blocks.length - 1].ref : null };
  }

  async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    this.#requireWilling();
    requireInteger("the epoch", epoch, 1, Number.MAX_SAFE_INTEGER);
    const stored = this.#fences.get(volume) ?? 0;
    if (epoch < stored) throw fencedError(volume, epoch, stored);
    for (const { ref } of this.#blocks.values())
      if (ref.volume === volume && ref.epoch === epoch) throw usedError(volume, epoch);
    requireKnowing(basis, volume, this.#memory.kept.view, this.#served.get(volume) ?? 0);
    this.#fences.set(volume, epoch);
    const log = logOf(this.#blocks.values(), volume, logEpoch, fromIndex);
    return { epoch, ...log, cutEpoch: this.#fencesAtStart.get(volume) ?? 0 };
  }

  async testify(after: VolumeId, limit: number): Promise<Testimony> {
    this.#requireUsable();
    const held = [...this.#blocks.values()].map(({ ref }) => ({ ...ref, blocks: 1 }));
    const kept = { ...this.#memory.kept, behind: this.#memory.behind };
    return testimonyOf(kept, tracesOf(this.#fences, held), after, limit);
  }

  /** As of DiskStore. */
  observe(view: MetadataView, proof: string): string {
    this.#memory.observe(view, proof, { monotonicMs: 0, wallMs: 0 });
    return this.#memory.behind;
  }

  async usage(): Promise<StoreUsage> {
    this.#requireUsable();
    const availableBytes = Math.max(0, this.#sizeBytes - this.#reserveBytes - this.#usedBytes);
    return {
      sizeBytes: this.#sizeBytes,
      usedBytes: this.#usedBytes,
      blocks: this.#blocks.size,
      availableBytes,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /**
   * What a peer finds when it starts again: open blocks are cut, a tail that does not verify is kept apart and reported,
   * what is left is durable. With `loseUnsynced` the power was lost: bytes not yet durable are gone.
   */
  restart(options: { readonly loseUnsynced: boolean }): void {
    this.#incarnation += 1;
    this.#fencesAtStart = new Map(this.#fences);
    this.#closed = false;
    this.#poisoned = false;
    for (const [key, block] of this.#blocks) {
      if (block.sealed) continue;
      const end = Math.max(options.loseUnsynced ? block.durable : block.held, block.damagedEnd);
      const verified = verifyRecords(block.bytes.subarray(0, end), block.ref, 0, 0, null);
      block.held = verified.length;
      block.durable = verified.length;
      block.checksum = verified.blockChecksum;
      block.last = verified.last;
      block.cut = true;
      block.damagedEnd = end > verified.length ? end : 0;
      if (end === 0) {
        this.#blocks.delete(key);
        this.#usedBytes -= block.capacity;
      }
    }
  }

  /** Flips the bits of one byte, as a disk might. */
  corrupt(ref: BlockRef, offset: number): void {
    const block = this.#blocks.get(blockRefKey(ref));
    if (block === undefined || offset >= Math.max(block.held, block.damagedEnd)) {
      throw new TorusError("not-found", `byte ${offset} of block ${blockRefKey(ref)} is not here`);
    }
    block.bytes[offset] ^= 0xff;
  }

  /** From now on, as after a failed fdatasync: every call rejects with `poisoned` until `restart`. */
  poison(): void {
    this.#poisoned = true;
  }

  /** Drops a block; false when there is none, or `mayRemove` says no. Each peer collects its own: not for the network. */
  async remove(ref: BlockRef, mayRemove: () => boolean = () => true): Promise<boolean> {
    this.#requireWilling();
    const block = this.#blocks.get(blockRefKey(ref));
    if (block === undefined || !mayRemove()) return false;
    this.#blocks.delete(blockRefKey(ref));
    this.#usedBytes -= block.capacity;
    return true;
  }

  /** Whether the sealed copy passes its own checksum; null when there is none. */
  async verify(ref: BlockRef): Promise<boolean | null> {
    this.#requireUsable();
    const block = this.#blocks.get(blockRefKey(ref));
    if (block === undefined || !block.sealed) return null;
    return crc32(block.bytes.subarray(0, block.held)) === block.checksum;
  }

  #requireUsable(): void {
    if (this.#closed) throw new TorusError("closed", `store ${this.peer} is closed`);
    if (this.#poisoned) {
      throw new TorusError(
        "poisoned",
        `store ${this.peer} saw a failed fdatasync: restart the peer to verify its disk`,
      );
    }
  }

  /** For changes. */
  #requireWilling(): void {
    this.#requireUsable();
    const { behind } = this.#memory;
    if (behind !== "") throw metadataBehind(behind);
  }

  /** Refuses what is below the fence of its volume, and raises it to what is above. */
  #admit(ref: BlockRef): void {
    const stored = this.#fences.get(ref.volume) ?? 0;
    if (ref.epoch < stored) throw fencedError(ref.volume, ref.epoch, stored);
    if (ref.epoch > stored) this.#fences.set(ref.volume, ref.epoch);
  }

  #take(bytes: number, keptBytes: number): void {
    if (this.#usedBytes + bytes > this.#sizeBytes - keptBytes) {
      throw new TorusError(
        "full",
        `store ${this.peer} has no room for ${bytes} more bytes: ${this.#usedBytes} of ${this.#sizeBytes} are used`,
      );
    }
    this.#usedBytes += bytes;
  }

  #noteServed({ volume, epoch, type }: BlockRef, records: Uint8Array): void {
    const known = this.#served.get(volume) ?? 0;
    if (epoch > known && type === blockType.data && showServed(records, epoch))
      this.#served.set(volume, epoch);
  }

  #kept(purpose: AppendPurpose): number {
    return purpose === "data" ? this.#reserveBytes : this.#reserveBytes / 2;
  }

  #openBlock(ref: BlockRef, capacity: number, keptBytes: number): MemoryBlock {
    this.#take(capacity, keptBytes);
    const block: MemoryBlock = {
      ref,
      bytes: new Uint8Array(0),
      capacity,
      held: 0,
      durable: 0,
      checksum: 0,
      sealed: false,
      cut: false,
      damagedEnd: 0,
      last: null,
    };
    this.#blocks.set(blockRefKey(ref), block);
    return block;
  }
}
