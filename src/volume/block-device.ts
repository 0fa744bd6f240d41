// BlockDevice: bytes at offsets, what a gateway serves. Implementations: a replicated volume, and memory
// (for tests of gateways). Requests may be made in any number at once; each settles on its own.

import type { TakeMemory } from "#model";

export interface BlockDeviceInfo {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Requests of this size and alignment cost no read-modify-write. */
  readonly preferredBytes: number;
  readonly description: string;
}

/** A run of bytes of which one thing is true, or not: what, says who tells it. */
export interface Extent {
  readonly length: number;
  readonly marked: boolean;
}

/**
 * Offsets and lengths are bytes, any alignment, within the size (the gateway checks; a device rejects with `invalid-argument`).
 * Errors are `TorusError`. After `attachment-lost` every later call rejects with it: no call ever reports success for what
 * could not be kept.
 */
export interface BlockDevice {
  readonly info: BlockDeviceInfo;
  /**
   * The bytes. They may lie in what `take` gives, which is the caller's again once it has them, and only then: after a rejection it may
   * still be written to. Else they are in memory that nobody uses again.
   */
  read(offset: number, length: number, take?: TakeMemory): Promise<Uint8Array>;
  /** Copies `bytes` before it returns. Resolves at the durability the volume was set to; with `fua` when durable on every member. */
  write(offset: number, bytes: Uint8Array, fua: boolean): Promise<void>;
  /** Gives the range back: whole pages read as zeroes afterwards, partial pages at the ends are left alone. */
  trim(offset: number, length: number, fua: boolean): Promise<void>;
  /** The range reads as zeroes afterwards, to the byte. */
  writeZeroes(offset: number, length: number, fua: boolean): Promise<void>;
  /**
   * What the range is made of: marked extents have content, the others read as zeroes and take no space. They follow each other from `offset` on, neighbours
   * differ, and there are at most `countMax`, at least one unless the range is empty. They end with the range, or before it where to find more would
   * take long.
   */
  extents(offset: number, length: number, countMax: number): Promise<readonly Extent[]>;
  /**
   * As `extents`, but marked is what may read differently now than in that snapshot of the same volume, and the others read the same for sure.
   * Rejects with `not-found` when there is no such snapshot.
   */
  changedSince(
    snapshot: string,
    offset: number,
    length: number,
    countMax: number,
  ): Promise<readonly Extent[]>;
  /** Resolves when every write answered before the call, on any connection, is durable on every member. */
  flush(): Promise<void>;
}
