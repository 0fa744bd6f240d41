// How the memory that a torusd may take is divided: what the program itself needs, then for each store the buffers of blocks that are
// appended to, requests and answers on their way, and what its upkeep has in its hands. Pure, so that the sums can be tested.

import { formatBytes, TorusError } from "#model";

export interface StoreMemory {
  /** Buffers of open blocks. */
  readonly bufferBytes: number;
  /** Requests and answers of all clients. */
  readonly requestBytes: number;
}

export interface MemoryNeeds {
  readonly stores: number;
  readonly blockBytes: number;
}

const mebibyte = 2 ** 20;

/** Node, the program, its heap and what is garbage for a while: measured 80 MiB at rest, up to 120 under load. */
const programBytes = 144 * mebibyte;
/** A thread and a heap of its own; the first store has the program's. */
const threadBytes = 64 * mebibyte;
/** Buffers of small blocks, what disk and sockets read and write with, what is kept for the next requests, and the maps that upkeep reads. */
const fixedBytes = 16 * mebibyte;

/** What there is room for at least: open blocks, requests of the largest kind, blocks that upkeep reads or sends. */
const blocksBuffered = 4;
const blocksRequested = 2;
const blocksKept = 2;

/** Of what is left for a store: the rest is for requests. */
const bufferShare = 0.5;

/** For each store, unless told. */
const storeBytesDefault = 512 * mebibyte;

function programOf({ stores }: MemoryNeeds): number {
  return programBytes + (stores - 1) * threadBytes;
}

function storeBytesMin({ blockBytes }: MemoryNeeds): number {
  return fixedBytes + (blocksBuffered + blocksRequested + blocksKept) * blockBytes;
}

/** Less is refused: with it requests would not fit, one at a time. */
export function memoryBytesMin(needs: MemoryNeeds): number {
  return programOf(needs) + needs.stores * storeBytesMin(needs);
}

export function memoryBytesDefault(needs: MemoryNeeds): number {
  return Math.max(needs.stores * storeBytesDefault, memoryBytesMin(needs));
}

/** What each store of a daemon gets of `memoryBytes`. Throws `invalid-argument` when that is too little. */
export function divideMemory(memoryBytes: number, needs: MemoryNeeds): StoreMemory {
  const least = memoryBytesMin(needs);
  if (memoryBytes < least) {
    const disks = needs.stores === 1 ? "one disk" : `${needs.stores} disks`;
    throw new TorusError(
      "invalid-argument",
      `--memory ${formatBytes(memoryBytes)} is too little for ${disks} and blocks of ${formatBytes(needs.blockBytes)}: ` +
        `give it ${formatBytes(least)} or more`,
    );
  }
  const free = (memoryBytes - least) / needs.stores;
  const { blockBytes } = needs;
  return {
    bufferBytes: Math.floor(blocksBuffered * blockBytes + free * bufferShare),
    requestBytes: Math.floor(blocksRequested * blockBytes + free * (1 - bufferShare)),
  };
}
