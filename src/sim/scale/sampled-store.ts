// SampledStore: the store of a simulated peer of a large cluster. Its blocks have a page each, which stands for as much as the sample says; what is put takes
// as long as the disk takes for that, one after another.

import type { Clock } from "#host";
import { sleep } from "#host";
import type {
  BlockRef,
  BlockStatus,
  Confirmation,
  ConfirmReport,
  ListPage,
  PeerId,
  PeerStore,
  StoreUsage,
} from "#model";
import { blockRefKey, crc32, pageBytes, TorusError } from "#model";
import type { OwnStore } from "#upkeep";
import type { SampledBlocks } from "./sampled-blocks.ts";

/** The bytes of every block. */
const content = new Uint8Array(pageBytes);
const checksum = crc32(content);

export interface SampledStoreDeps {
  readonly clock: Clock;
  readonly blocks: SampledBlocks;
  /** Told of each block that comes. */
  readonly onPut: (peer: PeerId, ref: BlockRef, bytes: number) => void;
}

export class SampledStore implements OwnStore, PeerStore {
  readonly peer: PeerId;
  /** The process is gone: nobody is answered. */
  isDown = false;
  readonly #sizeBytes: number;
  readonly #bytesPerSecond: number;
  readonly #deps: SampledStoreDeps;
  readonly #blocks = new Map<string, BlockStatus>();
  #sorted: readonly BlockStatus[] | null = null;
  #usedBytes = 0;
  #freeAtMs = 0;

  constructor(
    options: { readonly peer: PeerId; readonly sizeBytes: number; readonly bytesPerSecond: number },
    deps: SampledStoreDeps,
  ) {
    this.peer = options.peer;
    this.#sizeBytes = options.sizeBytes;
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#deps = deps;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get count(): number {
    return this.#blocks.size;
  }

  has(ref: BlockRef): boolean {
    return this.#blocks.has(blockRefKey(ref));
  }

  /** Is there from the start. */
  place(ref: BlockRef): void {
    const held = content.length;
    const status = { ref, held, durable: held, checksum, cut: false, damaged: false } as const;
    this.#blocks.set(blockRefKey(ref), { ...status, state: "sealed" });
    this.#usedBytes += this.#deps.blocks.bytesPerBlock;
    this.#sorted = null;
  }

  async put(ref: BlockRef): Promise<void> {
    this.#requireUp();
    if (this.has(ref)) return;
    const { clock, blocks, onPut } = this.#deps;
    const nowMs = clock.monotonicMs();
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (blocks.bytesPerBlock * 1000) / this.#bytesPerSecond;
    await sleep(clock, this.#freeAtMs - nowMs);
    this.#requireUp();
    if (this.has(ref)) return;
    this.place(ref);
    onPut(this.peer, ref, blocks.bytesPerBlock);
  }

  async read(ref: BlockRef): Promise<Uint8Array> {
    this.#requireUp();
    if (!this.has(ref)) throw new TorusError("not-found", `block ${blockRefKey(ref)} is not here`);
    return content;
  }

  async stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    this.#requireUp();
    return refs.map((ref) => this.#blocks.get(blockRefKey(ref)) ?? absent(ref));
  }

  async list(after: BlockRef | null, limit: number): Promise<ListPage> {
    this.#sorted ??= [...this.#blocks.values()].sort((a, b) => order(a.ref, b.ref));
    const start = after === null ? 0 : this.#sorted.findIndex(({ ref }) => order(ref, after) > 0);
    const blocks = start === -1 ? [] : this.#sorted.slice(start, start + limit);
    const isEnd = start === -1 || start + limit >= this.#sorted.length;
    return { blocks, next: isEnd ? null : blocks[blocks.length - 1].ref };
  }

  async remove(ref: BlockRef, mayRemove: () => boolean): Promise<boolean> {
    const status = this.#blocks.get(blockRefKey(ref));
    if (status === undefined || !mayRemove()) return false;
    this.#blocks.delete(blockRefKey(ref));
    this.#usedBytes -= this.#deps.blocks.bytesPerBlock;
    this.#sorted = null;
    return true;
  }

  async verify(ref: BlockRef): Promise<boolean | null> {
    return this.has(ref) ? true : null;
  }

  /** As a peer confirms what it has read back; reading back itself is left out, since it is paced by blocks of real size. */
  async confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    this.#requireUp();
    const { ring } = this.#deps.blocks;
    const blocks = refs.map((ref): Confirmation => {
      const status = this.#blocks.get(blockRefKey(ref));
      const isOwn = ring.version === ringVersion && ring.holders(ref).includes(this.peer);
      if (status === undefined || !isOwn) return { verdict: "lacking", length: 0, checksum: 0 };
      return { verdict: "confirmed", length: status.held, checksum: status.checksum };
    });
    return { ringVersion: ring.version, blocks };
  }

  async usage(): Promise<StoreUsage> {
    const availableBytes = this.#sizeBytes - this.#usedBytes;
    return { sizeBytes: this.#sizeBytes, usedBytes: this.#usedBytes, blocks: this.count, availableBytes };
  }

  append = refuse;
  sync = refuse;
  seal = refuse;
  fence = refuse;

  async close(): Promise<void> {}

  #requireUp(): void {
    if (this.isDown) throw new TorusError("unavailable", `peer ${this.peer} is down`);
  }
}

/** Nobody writes: what is simulated is what peers do by themselves. */
async function refuse(): Promise<never> {
  throw new TorusError("unsupported", "a sampled store takes whole blocks only");
}

function absent(ref: BlockRef): BlockStatus {
  return { ref, state: "absent", held: 0, durable: 0, checksum: 0, cut: false, damaged: false };
}

function order(a: BlockRef, b: BlockRef): number {
  return a.volume - b.volume || a.epoch - b.epoch || a.type - b.type || a.index - b.index;
}
