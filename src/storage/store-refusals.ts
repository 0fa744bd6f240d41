// What every store here refuses, in the same words: wrong arguments, old epochs, places that do not continue what is held.

import type { BlockRef, BlockStatus, Epoch, FenceBasis, MetadataView, VolumeId } from "#model";
import {
  blockRefKey,
  fenceReportBlocksMax,
  judgeView,
  metadataBehindSeen,
  metadataBehindServed,
  pageBytes,
  TorusError,
  volumeIdMax,
} from "#model";

export function requireInteger(what: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw new TorusError("invalid-argument", `${what} ${value} is not between ${min} and ${max}`);
  }
}

export function requirePages(what: string, value: number, min: number, max: number): void {
  requireInteger(what, value, min, max);
  if (value % pageBytes !== 0) {
    throw new TorusError("invalid-argument", `${what} ${value} is not a multiple of ${pageBytes}`);
  }
}

export function requireRef({ type, volume, epoch, index }: BlockRef): void {
  requireInteger("the block type", type, 0, 0xffffff);
  requireInteger("the volume", volume, 0, volumeIdMax);
  requireInteger("the epoch", epoch, 1, Number.MAX_SAFE_INTEGER);
  requireInteger("the index", index, 1, Number.MAX_SAFE_INTEGER);
}

export function fencedError(volume: VolumeId, epoch: Epoch, stored: Epoch): TorusError {
  return new TorusError("fenced", `volume ${volume} is at epoch ${stored} here: epoch ${epoch} is over`, {
    epoch: stored,
  });
}

/**
 * Refuses a fence that was decided by less than is known here: of the metadata, and of which epochs served. Nothing served may be missing
 * in what the fencer is about to recover [C7].
 */
export function requireKnowing(
  basis: FenceBasis | null,
  volume: VolumeId,
  seen: MetadataView | null,
  servedEpoch: Epoch,
): void {
  if (basis === null) return;
  if (basis.headEpoch < servedEpoch) throw metadataBehindServed(volume, basis.headEpoch, servedEpoch);
  const reason = seen === null ? "" : judgeView(seen, basis.view);
  if (seen !== null && reason !== "") throw metadataBehindSeen(reason, seen);
}

export function usedError(volume: VolumeId, epoch: Epoch): TorusError {
  return new TorusError(
    "fenced",
    `epoch ${epoch} of volume ${volume} was taken before: blocks of it are here`,
    {
      epoch,
      used: true,
    },
  );
}

/** Throws `limit` when a fence has more to tell than an answer holds. */
export function requireReportable(volume: VolumeId, blocks: readonly BlockStatus[]): void {
  if (blocks.length <= fenceReportBlocksMax) return;
  throw new TorusError(
    "limit",
    `volume ${volume} has ${blocks.length} blocks to report, the limit is ${fenceReportBlocksMax}`,
  );
}

export function outOfOrder(ref: BlockRef, position: number, held: number): TorusError {
  return new TorusError("out-of-order", `block ${blockRefKey(ref)} is held up to ${held}, not ${position}`, {
    held,
  });
}

export function sealMismatch(
  ref: BlockRef,
  length: number,
  checksum: number,
  held: { readonly held: number; readonly checksum: number },
): TorusError {
  return new TorusError(
    "mismatch",
    `block ${blockRefKey(ref)} is (${held.held}, ${held.checksum}) here, not (${length}, ${checksum})`,
  );
}

export function heldOtherwise(ref: BlockRef, offset: number, held: number): TorusError {
  return new TorusError(
    "mismatch",
    `other bytes are held already between ${offset} and ${held} of block ${blockRefKey(ref)}`,
  );
}

export function pastCapacity(ref: BlockRef, end: number, capacity: number): TorusError {
  return new TorusError(
    "invalid-argument",
    `an append to ${end} passes the capacity ${capacity} of block ${blockRefKey(ref)}`,
  );
}
