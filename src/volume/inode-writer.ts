// InodeWriter: gathers the nodes of one checkpoint into blocks of type inode, in memory, and puts them on their peers. Encoding is
// synchronous, so that the INode is of exactly one log position; putting may take its time.

import type { Clock, Log } from "#host";
import { sleep } from "#host";
import type { NodePointer } from "#metadata";
import type { BlockRef, BlockStore, Epoch, PeerId, TorusError, VolumeId } from "#model";
import { blockType, crc32, isTorusError, messageOf, pageBytes } from "#model";
import type { SilentPeers } from "./silent-peers.ts";

interface InodeBlock {
  readonly ref: BlockRef;
  readonly buffer: Uint8Array;
  length: number;
}

export interface PutDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  /** The members for a block now, none of `without`; fewer than `minReplicas`: wait. */
  readonly membersOf: (ref: BlockRef, without: readonly PeerId[]) => readonly PeerId[];
  /** Kept from one checkpoint to the next. */
  readonly silent: SilentPeers;
  readonly minReplicas: number;
  /** A peer has no space for a checkpoint, not even in its reserve. */
  readonly onFull: (error: TorusError) => void;
  /** The attachment is over: give up. */
  readonly isLost: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

const firstBlockBytes = 64 * 1024;
const retryMs = 200;

export class InodeWriter {
  readonly #volume: VolumeId;
  readonly #epoch: Epoch;
  readonly #blockBytes: number;
  readonly #blocks: InodeBlock[] = [];
  #nextIndex: number;
  #bytes = 0;

  constructor(options: { volume: VolumeId; epoch: Epoch; blockBytes: number; firstIndex: number }) {
    this.#volume = options.volume;
    this.#epoch = options.epoch;
    this.#blockBytes = options.blockBytes;
    this.#nextIndex = options.firstIndex;
  }

  /** The index the next INode's first block will have. */
  get nextIndex(): number {
    return this.#nextIndex;
  }

  /** Bytes of all nodes placed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Gives a node its place. */
  place(bytes: Uint8Array): NodePointer {
    let block = this.#blocks.at(-1);
    if (block === undefined || block.length + bytes.length > block.buffer.length)
      block = this.#add(bytes.length);
    const offset = block.length;
    block.buffer.set(bytes, offset);
    block.length = offset + bytes.length;
    this.#bytes += bytes.length;
    return { ref: block.ref, offset, length: bytes.length, checksum: crc32(bytes) };
  }

  /** Puts every block, whole and sealed, on all its members; returns once all are durable. Tries until it is done or the attachment is lost. */
  async put(deps: PutDeps): Promise<void> {
    for (const block of this.#blocks) {
      const length = Math.ceil(block.length / pageBytes) * pageBytes;
      const bytes = block.buffer.subarray(0, length);
      await putEverywhere(block.ref, bytes, crc32(bytes), deps);
    }
  }

  #add(neededBytes: number): InodeBlock {
    const ref = { type: blockType.inode, volume: this.#volume, epoch: this.#epoch, index: this.#nextIndex };
    this.#nextIndex += 1;
    // The first block of a checkpoint is small, as most checkpoints are; a store keeps it in a small slot.
    const small = this.#blocks.length === 0 ? Math.min(firstBlockBytes, this.#blockBytes) : this.#blockBytes;
    const block = { ref, buffer: new Uint8Array(neededBytes <= small ? small : this.#blockBytes), length: 0 };
    this.#blocks.push(block);
    return block;
  }
}

/**
 * Bytes once sent for a ref never change, so a put that fails is simply repeated, on whoever are the members by then: a peer that takes nothing for
 * long is none, where the others are enough. A full one is waited for [C16].
 */
async function putEverywhere(
  ref: BlockRef,
  bytes: Uint8Array,
  checksum: number,
  deps: PutDeps,
): Promise<void> {
  const { clock, silent, minReplicas, storeOf } = deps;
  const done = new Set<PeerId>();
  while (!deps.isLost()) {
    const living = deps.membersOf(ref, silent.at(clock.monotonicMs()));
    const members = living.length >= minReplicas ? living : deps.membersOf(ref, []);
    const missing = members.filter((peer) => !done.has(peer));
    if (members.length >= minReplicas && missing.length === 0) return;
    const outcomes = await Promise.allSettled(
      missing.map((peer) => storeOf(peer).put(ref, bytes, checksum, "write")),
    );
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === "fulfilled") {
        done.add(missing[i]);
        silent.took(missing[i]);
      } else if (isTorusError(outcome.reason, "full")) deps.onFull(outcome.reason);
      else {
        silent.failed(missing[i], clock.monotonicMs());
        deps.log.debug("a checkpoint block could not be put", {
          peer: missing[i],
          reason: messageOf(outcome.reason),
        });
      }
    }
    if (outcomes.some((outcome) => outcome.status === "rejected") || members.length < minReplicas) {
      await sleep(clock, retryMs);
    }
  }
}
