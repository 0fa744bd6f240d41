// What canaries break of recovery and of full pools: what a recoverer is told of a log, and what a store without space says.

import type { KeyValue, MetadataService, Range, Snapshot } from "#metadata";
import type {
  AppendPurpose,
  BlockRef,
  BlockStore,
  Epoch,
  FenceBasis,
  FenceReport,
  Progress,
  VolumeId,
} from "#model";
import { blockRefKey, blockType, isTorusError, TorusError } from "#model";
import { withService } from "./broken-clients.ts";
import type { SimClient } from "./client.ts";
import { PassingStore } from "./passing-store.ts";
import type { World } from "./world.ts";

/** Of the values of one volume that are read together: an epoch that was taken counts as one that served, so its log is the volume's. */
function servedByTaking(entries: readonly KeyValue[]): readonly KeyValue[] {
  const partOf = (part: string): Record<string, unknown> | null => {
    const entry = entries.find(({ key }) => key.startsWith("volumes/") && key.endsWith(`/${part}`));
    return entry === undefined ? null : JSON.parse(entry.value);
  };
  const writer = partOf("writer");
  const head = partOf("head");
  const logmap = partOf("logmap");
  if (writer === null || head === null || logmap === null) return entries;
  // The newest is that of whoever reads this.
  const taken = Number(writer["epoch"]) - 1;
  if (taken <= Number(head["epoch"])) return entries;
  const position = { replayFrom: 1, sequence: 0, previous: 0, positionIndex: 1, positionOffset: 0 };
  const rows = (logmap["rows"] as { fromIndex: number }[]).slice(-1).map((row) => ({ ...row, fromIndex: 1 }));
  return entries.map((entry) => {
    if (entry.key.endsWith("/head"))
      return { ...entry, value: JSON.stringify({ ...head, ...position, epoch: taken }) };
    if (!entry.key.endsWith("/logmap")) return entry;
    return { ...entry, value: JSON.stringify({ ...logmap, epoch: taken, rows, struck: [] }) };
  });
}

/** Recovery replays the log of the epoch before its own, also when that attach never served. */
export function takenIsServed(service: MetadataService): MetadataService {
  return withService(service, {
    read: async (ranges: readonly Range[]): Promise<Snapshot> => {
      const { revision, ranges: found } = await service.read(ranges);
      return { revision, ranges: found.map(servedByTaking) };
    },
  });
}

/** What headers behind a damaged record say was durable is not reported. */
export class TornTail extends PassingStore {
  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const report = await super.fence(volume, epoch, logEpoch, fromIndex, basis);
    return { ...report, durableIndex: 0, durableOffset: 0 };
  }
}

/** INode blocks of a run, and how many there were when each data block was begun, by epoch and by block. */
interface IndexSpace {
  readonly inodes: Map<string, number>;
  readonly before: Map<string, number>;
}

const indexSpaces = new WeakMap<World, IndexSpace>();

function epochOf({ volume, epoch }: BlockRef): string {
  return `${volume}.${epoch}`;
}

/** Data and INode blocks count one index: a recoverer finds data blocks where they are in that count. */
export class SharedIndex extends PassingStore {
  readonly #space: IndexSpace;

  constructor(store: BlockStore, { world }: SimClient) {
    super(store);
    const known = indexSpaces.get(world);
    this.#space = known ?? { inodes: new Map(), before: new Map() };
    indexSpaces.set(world, this.#space);
  }

  override append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    const { inodes, before } = this.#space;
    const key = blockRefKey(ref);
    if (!before.has(key)) before.set(key, inodes.get(epochOf(ref)) ?? 0);
    return super.append(ref, offset, bytes, capacityBytes, purpose);
  }

  override put(
    ref: BlockRef,
    bytes: Uint8Array,
    checksum: number,
    purpose: "write" | "repair",
  ): Promise<void> {
    const { inodes } = this.#space;
    if (ref.type === blockType.inode)
      inodes.set(epochOf(ref), Math.max(ref.index, inodes.get(epochOf(ref)) ?? 0));
    return super.put(ref, bytes, checksum, purpose);
  }

  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const report = await super.fence(volume, epoch, logEpoch, fromIndex, basis);
    const { before } = this.#space;
    const first = { type: blockType.data, volume, epoch: logEpoch, index: fromIndex };
    const start = before.get(blockRefKey(first)) ?? 0;
    const blocks = report.blocks.map((status) => {
      const gap = (before.get(blockRefKey(status.ref)) ?? 0) - start;
      return { ...status, ref: { ...status.ref, index: status.ref.index + gap } };
    });
    return { ...report, blocks };
  }
}

/** A peer that has no space is taken for one that failed. */
export class FullIsFailed extends PassingStore {
  override async append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    try {
      return await super.append(ref, offset, bytes, capacityBytes, purpose);
    } catch (error) {
      if (!isTorusError(error, "full")) throw error;
      throw new TorusError("unavailable", error.message);
    }
  }
}

/** Once new data found no space nothing does: no log of an attach, no checkpoint. */
export class NoReserve extends PassingStore {
  #full: TorusError | null = null;

  override append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    if (offset === 0 && this.#full !== null) return Promise.reject(this.#full);
    return this.#noting(super.append(ref, offset, bytes, capacityBytes, purpose));
  }

  override put(
    ref: BlockRef,
    bytes: Uint8Array,
    checksum: number,
    purpose: "write" | "repair",
  ): Promise<void> {
    if (this.#full !== null) return Promise.reject(this.#full);
    return this.#noting(super.put(ref, bytes, checksum, purpose));
  }

  async #noting<Result>(asked: Promise<Result>): Promise<Result> {
    try {
      return await asked;
    } catch (error) {
      if (isTorusError(error, "full")) this.#full = error;
      throw error;
    }
  }
}
