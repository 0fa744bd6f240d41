// Witness: hears every answer a peer's store gives, and holds the store to it for the rest of the run, across crashes: what was
// called durable is there after any restart, an epoch that was fenced out writes nothing more, a sealed block has one content.

import type {
  AppendPurpose,
  BlockRef,
  BlockStatus,
  BlockStore,
  Epoch,
  FenceBasis,
  FenceReport,
  Progress,
  VolumeId,
} from "#model";
import { blockRefKey, crc32, pageBytes } from "#model";
import { PassingStore } from "./passing-store.ts";
import type { World } from "./world.ts";

interface Claim {
  readonly ref: BlockRef;
  durable: number;
}

export interface SealedCopy {
  readonly ref: BlockRef;
  readonly length: number;
  /** The block's, as its writer gave it. */
  readonly checksum: number;
  /** Its bytes match that. */
  readonly isWhole: boolean;
  /** CRC-32 of each page as it is. */
  readonly pages: readonly number[];
}

const listLimit = 1000;

export class Witness {
  readonly #name: string;
  readonly #world: World;
  readonly #claims = new Map<string, Claim>();
  readonly #fences = new Map<VolumeId, Epoch>();
  /** Which removal took a block, by its number. */
  readonly #dropped = new Map<string, number>();
  #drops = 0;

  constructor(name: string, world: World) {
    this.#name = name;
    this.#world = world;
  }

  /** `store` as clients reach it, under observation. */
  watch(store: BlockStore): BlockStore {
    return new WitnessedStore(store, this);
  }

  /** After a start: all that was ever called durable must be there, but for blocks that are `rotten`. */
  async check(store: BlockStore, isRotten: (key: string) => boolean): Promise<void> {
    const claims = [...this.#claims.values()].filter(({ ref }) => !isRotten(blockRefKey(ref)));
    const statuses = await store.stat(claims.map(({ ref }) => ref));
    for (const [i, { ref, durable }] of claims.entries()) {
      if (statuses[i].held >= durable) continue;
      this.#world.violate(
        "durable stays",
        `${this.#name} called ${durable} bytes of block ${blockRefKey(ref)} durable and has ${statuses[i].held} after a start`,
      );
    }
  }

  /** The peer lets go of `ref`, as it may: nothing that was said of it before counts. */
  dropped(ref: BlockRef): void {
    const key = blockRefKey(ref);
    this.#drops += 1;
    this.#dropped.set(key, this.#drops);
    this.#claims.delete(key);
  }

  // What follows is for WitnessedStore.

  /** Removals until now. */
  get drops(): number {
    return this.#drops;
  }

  fenced(volume: VolumeId, epoch: Epoch): void {
    if (epoch > this.fenceOf(volume)) this.#fences.set(volume, epoch);
  }

  fenceOf(volume: VolumeId): Epoch {
    return this.#fences.get(volume) ?? 0;
  }

  /** Bytes of `ref` were taken, asked for when `fenceBefore` was the epoch in force. */
  wrote(ref: BlockRef, fenceBefore: Epoch): void {
    if (ref.epoch >= fenceBefore) return;
    this.#world.violate(
      "fences hold",
      `${this.#name} took block ${blockRefKey(ref)} after it was fenced for epoch ${fenceBefore}`,
    );
  }

  /** `drops` is as of when the question was asked: an answer that a removal overtook promises nothing. */
  durable(ref: BlockRef, bytes: number, drops: number): void {
    if (bytes === 0) return;
    const key = blockRefKey(ref);
    if ((this.#dropped.get(key) ?? 0) > drops) return;
    const claim = this.#claims.get(key);
    if (claim === undefined) this.#claims.set(key, { ref, durable: bytes });
    else claim.durable = Math.max(claim.durable, bytes);
  }
}

class WitnessedStore extends PassingStore {
  readonly #witness: Witness;

  constructor(store: BlockStore, witness: Witness) {
    super(store);
    this.#witness = witness;
  }

  override async append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    const fence = this.#witness.fenceOf(ref.volume);
    const { drops } = this.#witness;
    const progress = await super.append(ref, offset, bytes, capacityBytes, purpose);
    this.#witness.wrote(ref, fence);
    this.#witness.durable(ref, progress.durable, drops);
    return progress;
  }

  override async sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    const { drops } = this.#witness;
    const answers = await super.sync(refs);
    for (const [i, { durable }] of answers.entries()) this.#witness.durable(refs[i], durable, drops);
    return answers;
  }

  override async seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    const fence = this.#witness.fenceOf(ref.volume);
    const { drops } = this.#witness;
    await super.seal(ref, length, checksum);
    this.#witness.wrote(ref, fence);
    this.#witness.durable(ref, length, drops);
  }

  override async put(
    ref: BlockRef,
    bytes: Uint8Array,
    checksum: number,
    purpose: "write" | "repair",
  ): Promise<void> {
    const fence = this.#witness.fenceOf(ref.volume);
    const { drops } = this.#witness;
    await super.put(ref, bytes, checksum, purpose);
    if (purpose === "write") this.#witness.wrote(ref, fence);
    this.#witness.durable(ref, bytes.length, drops);
  }

  override async stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    const { drops } = this.#witness;
    const statuses = await super.stat(refs);
    for (const { ref, durable } of statuses) this.#witness.durable(ref, durable, drops);
    return statuses;
  }

  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const { drops } = this.#witness;
    const report = await super.fence(volume, epoch, logEpoch, fromIndex, basis);
    this.#witness.fenced(volume, report.epoch);
    for (const { ref, durable } of report.blocks) this.#witness.durable(ref, durable, drops);
    return report;
  }
}

/** Every sealed block of `store`, with its bytes read and summed, page by page. */
export async function sealedCopies(store: BlockStore): Promise<SealedCopy[]> {
  const copies: SealedCopy[] = [];
  let after: BlockRef | null = null;
  do {
    const page: Awaited<ReturnType<BlockStore["list"]>> = await store.list(after, listLimit);
    for (const { ref, state, held, checksum } of page.blocks) {
      if (state !== "sealed") continue;
      const bytes = await store.read(ref, 0, held);
      const pages: number[] = [];
      for (let at = 0; at < held; at += pageBytes) pages.push(crc32(bytes.subarray(at, at + pageBytes)));
      copies.push({ ref, length: held, checksum, isWhole: crc32(bytes) === checksum, pages });
    }
    after = page.next;
  } while (after !== null);
  return copies;
}
