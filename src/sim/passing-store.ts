// PassingStore: a BlockStore that hands every call to another. What stands between a store and its users overrides what it
// is about.

import type {
  AppendPurpose,
  BlockRef,
  BlockStatus,
  BlockStore,
  Epoch,
  FenceBasis,
  FenceReport,
  ListPage,
  PeerId,
  Progress,
  StoreUsage,
  VolumeId,
} from "#model";

export class PassingStore implements BlockStore {
  readonly inner: BlockStore;

  constructor(inner: BlockStore) {
    this.inner = inner;
  }

  get peer(): PeerId {
    return this.inner.peer;
  }

  append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    return this.inner.append(ref, offset, bytes, capacityBytes, purpose);
  }

  sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    return this.inner.sync(refs);
  }

  read(ref: BlockRef, offset: number, length: number): Promise<Uint8Array> {
    return this.inner.read(ref, offset, length);
  }

  seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    return this.inner.seal(ref, length, checksum);
  }

  put(ref: BlockRef, bytes: Uint8Array, checksum: number, purpose: "write" | "repair"): Promise<void> {
    return this.inner.put(ref, bytes, checksum, purpose);
  }

  stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    return this.inner.stat(refs);
  }

  list(after: BlockRef | null, limit: number): Promise<ListPage> {
    return this.inner.list(after, limit);
  }

  fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    return this.inner.fence(volume, epoch, logEpoch, fromIndex, basis);
  }

  usage(): Promise<StoreUsage> {
    return this.inner.usage();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}
