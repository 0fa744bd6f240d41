// BlockStore: the seam between what replicates blocks and what keeps them. A disk store, a memory store,
// a simulated one and a store stretched over TCP (#peer) all offer it and pass the same suite; the
// distributor cannot tell them apart.
//
// A block is *open* (appended by its writer, in records) or *sealed* with one (length, checksum). A store
// answers an append with how far it holds the block (*held*, maybe only in memory) and how far it is on
// disk (*durable*). It knows a record's framing and checks its sums; it does not know its meaning.

import type { NearReads } from "./block-location.ts";
import type { BlockRef, Epoch, VolumeId } from "./block-ref.ts";
import type { MetadataView } from "./metadata-witness.ts";

export type PeerId = string;

/** How far a store has a block, in bytes from its start. durable <= held. */
export interface Progress {
  readonly held: number;
  readonly durable: number;
}

export type BlockState = "absent" | "open" | "sealed";

export interface BlockStatus {
  readonly ref: BlockRef;
  readonly state: BlockState;
  readonly held: number;
  readonly durable: number;
  /** CRC-32 of the `held` bytes. */
  readonly checksum: number;
  /** Opened before this incarnation started: bytes held only in memory may have been lost since. */
  readonly cut: boolean;
  /** Bytes beyond `held` were found on disk that do not verify: may be a torn tail or rot, nobody knows here. */
  readonly damaged: boolean;
}

export interface FenceReport {
  /** The epoch the store now refuses anything below; at least the one asked for. */
  readonly epoch: Epoch;
  /** All blocks of the volume's log `{type data, volume, logEpoch, index >= fromIndex}`, by index. */
  readonly blocks: readonly BlockStatus[];
  /**
   * The highest position in that log which any record header here names as durable on every member:
   * recovery must not end below it.
   */
  readonly durableIndex: number;
  readonly durableOffset: number;
  /**
   * Of the logs of epochs up to this one the store may have lost, by a restart, what it held only in memory, whole blocks too. Of
   * later ones it still has all it ever held. 0: it lost nothing of this volume.
   */
  readonly cutEpoch: Epoch;
}

/** What a fence was decided by [C7]. A store that knows better refuses it. */
export interface FenceBasis {
  /** Of the read in which the fencer found the volume's head and logmap. */
  readonly view: MetadataView;
  /** The epoch of that head, or that of the adoption of the metadata which it is from before: nothing that served later is known there. */
  readonly headEpoch: Epoch;
}

export interface StoreUsage {
  /** What the operator gave it. */
  readonly sizeBytes: number;
  /** Slots in use, at their full size. */
  readonly usedBytes: number;
  readonly blocks: number;
  /** Room for blocks of new data; what is kept back for other purposes is not counted. */
  readonly availableBytes: number;
}

/**
 * What a block is opened for. "data": new data, which leaves the space that is kept back alone. "reserve": also what frees space, or ends
 * a log that was begun; it may use the part that is kept back for that [C16].
 */
export type AppendPurpose = "data" | "reserve";

export interface ListPage {
  readonly blocks: readonly BlockStatus[];
  /** Pass as `after` for the next page; null at the end. */
  readonly next: BlockRef | null;
}

/** Memory of exactly so many bytes, with whatever is in it. */
export type TakeMemory = (bytes: number) => Uint8Array;

/**
 * All calls reject with `TorusError`. Codes that any may give: `unavailable`, `timeout`, `closed` (link), `io`,
 * `poisoned` (disk). Byte arrays passed in must not change until the promise settles.
 */
export interface BlockStore {
  readonly peer: PeerId;
  /** Reads that need not wait: the store is on this machine. Null while that is not known; undefined when it is not so. */
  readonly near?: NearReads | null | undefined;

  /**
   * Appends whole records at `offset`, which must be what is held (else `out-of-order` with details.held). A part
   * already held must be equal (else `mismatch`). A first append opens the block with room for `capacityBytes`.
   * `fenced` below the stored epoch; an append of a newer epoch fences too. `corrupt` when a record's sums are
   * wrong; `full` without space for `purpose` ("data" when not given). Resolves once held: `durable` may lag. Calls on one block take
   * effect in the order made.
   */
  append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress>;

  /**
   * Makes all that is held of `refs` durable (group commit); answers in their order, absent ones as 0/0. `fenced` if any of them is of an
   * epoch below the stored one: a writer that was replaced gets no answer a flush could rest on.
   */
  sync(refs: readonly BlockRef[]): Promise<Progress[]>;

  /**
   * `length` bytes at `offset`, unverified: the reader checks them. `not-found` if absent or shorter. A store may put them into what
   * `take` gives; else they are in memory of its own, which it does not use again.
   */
  read(ref: BlockRef, offset: number, length: number, take?: TakeMemory): Promise<Uint8Array>;

  /**
   * Ends an open block at (length, checksum); durable when it resolves. Bytes held beyond `length` are dropped. `mismatch` if what is held
   * differs, `out-of-order` if less is held, `fenced` as for append. Again with the same values: no effect.
   */
  seal(ref: BlockRef, length: number, checksum: number): Promise<void>;

  /**
   * Stores a whole sealed block, durable when it resolves. Over a sealed copy that verifies: equal (length, checksum)
   * is no effect, another is `mismatch`. Over an open or a failing copy: replaces it. `purpose` "write" obeys the fence,
   * "repair" does not (its bytes were sealed by an epoch of old and carry their checksum).
   */
  put(ref: BlockRef, bytes: Uint8Array, checksum: number, purpose: "write" | "repair"): Promise<void>;

  /** What is held of each of `refs`, in order. */
  stat(refs: readonly BlockRef[]): Promise<BlockStatus[]>;

  /** Blocks in ref order (volume, epoch, type, index) after `after`, at most `limit`. */
  list(after: BlockRef | null, limit: number): Promise<ListPage>;

  /**
   * Durably refuses everything below `epoch` for `volume`, on every connection, before it answers. `fenced`
   * if a newer epoch is stored already (details.epoch), or blocks of this very one are here (details.used): nobody writes before
   * he has fenced, so it was taken twice [C7]. `metadata-behind` if `basis` is older than what the store has seen of the metadata
   * (details: `viewSeenIn`), or than an epoch that served: of which it took records that may have been answered (details.servedEpoch). A null basis is that of
   * fencers which do not tell. Also lists the log of `logEpoch` from `fromIndex`.
   */
  fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport>;

  usage(): Promise<StoreUsage>;

  close(): Promise<void>;
}
