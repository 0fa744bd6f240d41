// What every store here refuses, in the same words: wrong arguments, old epochs, places that do not continue what is held.

import type { BlockRef, Epoch, VolumeId } from "#model";
import { blockRefKey, pageBytes, TorusError } from "#model";

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
