// What every store here refuses, in the same words: wrong arguments, old epochs, places that do not continue what is held.

import type { BlockRef, Epoch, VolumeId } from "#model";
import { blockRefKey, pageBytes, TorusError, volumeIdMax } from "#model";

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
