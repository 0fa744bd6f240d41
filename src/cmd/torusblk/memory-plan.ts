// How the memory that a torusblk may take is divided: what the program itself needs, then requests and replies of all clients, what was read of peers, and the
// volumes that may be attached at once, each with its part of the log and of its map. Pure, so that the sums can be tested.

import { formatBytes, TorusError } from "#model";
import type { VolumesMemory } from "#volume";

const mebibyte = 2 ** 20;

/** Node, the program, its heap and what is garbage for a while: measured 80 MiB at rest; garbage of 64 MiB wakes the collector. */
const programBytes = 192 * mebibyte;
/** The largest request of NBD. */
const requestBytesMin = 32 * mebibyte;
/** What a request takes here it may take once more on its way to or from peers. */
const requestCopies = 2;
const mapBytesMin = 8 * mebibyte;
/** A volume that rests keeps so many buffers of its log. */
const blocksKept = 6;
/** Of what is left: the rest is for volumes. */
const requestShare = 0.4;
const readCacheShare = 0.1;
/** Of what volumes have beyond that, for their maps: the rest is for their logs. */
const mapShare = 0.25;

export interface ServerMemory {
  /** Requests and replies of all clients. */
  readonly requestBytes: number;
  /** What was read of peers on other machines, at most. */
  readonly readCacheBytes: number;
  readonly volumes: VolumesMemory;
}

function volumeBytesMin(blockBytes: number): number {
  return blocksKept * blockBytes + mapBytesMin;
}

export function memoryBytesMin(blockBytes: number): number {
  return programBytes + requestCopies * requestBytesMin + volumeBytesMin(blockBytes);
}

/** Throws `invalid-argument` when `memoryBytes` is too little for one volume and one request. */
export function divideMemory(memoryBytes: number, blockBytes: number): ServerMemory {
  const least = memoryBytesMin(blockBytes);
  if (memoryBytes < least) {
    throw new TorusError(
      "invalid-argument",
      `--memory ${formatBytes(memoryBytes)} is too little for blocks of ${formatBytes(blockBytes)}: give it ${formatBytes(least)} or more`,
    );
  }
  const requestBytes = Math.floor(requestBytesMin + ((memoryBytes - least) * requestShare) / requestCopies);
  const readCacheBytes = Math.floor((memoryBytes - least) * readCacheShare);
  const volumeBytes = memoryBytes - programBytes - requestCopies * requestBytes - readCacheBytes;
  const countMax = Math.floor(volumeBytes / volumeBytesMin(blockBytes));
  const freeBytes = volumeBytes - countMax * volumeBytesMin(blockBytes);
  const mapBytes = mapBytesMin + Math.floor((freeBytes * mapShare) / countMax);
  const windowBytes = volumeBytes - countMax * mapBytes;
  return { requestBytes, readCacheBytes, volumes: { countMax, mapBytes, windowBytes } };
}
