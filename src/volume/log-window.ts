// LogWindow: the blocks of the log whose bytes this process has: from the oldest that is not sealed on all its members to the open one. Readers
// find what is not on disk yet here, and a member that lacks something is sent it from here.

import type { WriteBlock } from "#distributor";
import type { BlockRef } from "#model";
import { assert } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { LogBlock } from "./write-log.ts";

/** A block as the log fills it and as the replicator sends it: two views of one buffer. */
export interface WindowBlock {
  readonly log: LogBlock;
  readonly write: WriteBlock;
}

/** A block, and sequence and header checksum of the last record before it. */
export interface ReplayPoint {
  readonly index: number;
  readonly sequence: number;
  readonly previous: number;
}

const sparesMax = 4;

export class LogWindow {
  readonly #table: BlockTable;
  readonly #blockBytes: number;
  /** By id in the table, in log order. */
  readonly #blocks = new Map<number, WindowBlock>();
  readonly #spares: Uint8Array[] = [];

  constructor(options: { readonly blockBytes: number }, deps: { readonly table: BlockTable }) {
    this.#blockBytes = options.blockBytes;
    this.#table = deps.table;
  }

  get size(): number {
    return this.#blocks.size;
  }

  /**
   * Of blocks that were not given up. Those that were leave with the next checkpoint, which waits for room for their pages, also where
   * these are given up again on their way: so they must not count. Each time adds at most a window.
   */
  get keptBytes(): number {
    let blocks = 0;
    for (const { write } of this.#blocks.values()) if (!write.abandoned) blocks += 1;
    return blocks * this.#blockBytes;
  }

  find(id: number): LogBlock | undefined {
    return this.#blocks.get(id)?.log;
  }

  /** A buffer for a new block; its content is what it is. */
  takeBuffer(): Uint8Array {
    return this.#spares.pop() ?? new Uint8Array(this.#blockBytes);
  }

  add(block: WindowBlock): void {
    this.#table.enter(block.log.id);
    this.#blocks.set(block.log.id, block);
  }

  /** The block is sealed on all its members: its entry is final and its buffer free. */
  leave(ref: BlockRef): void {
    const block = this.#take(ref);
    this.#table.leave(block.log.id, block.log.length, block.log.checksum);
  }

  /** An abandoned block that nothing needs any more. */
  drop(ref: BlockRef): void {
    this.#table.dropDead(this.#take(ref).log.id);
  }

  /** Of these, the blocks of the log. */
  logsOf(writes: readonly WriteBlock[]): LogBlock[] {
    return [...this.#blocks.values()].filter(({ write }) => writes.includes(write)).map(({ log }) => log);
  }

  get hasAbandoned(): boolean {
    for (const { write } of this.#blocks.values()) if (write.abandoned) return true;
    return false;
  }

  /** Abandoned blocks that the map still points into. */
  get hasLiveAbandoned(): boolean {
    for (const [id, { write }] of this.#blocks) {
      if (write.abandoned && (this.#table.entry(id)?.live ?? 0) > 0) return true;
    }
    return false;
  }

  /** The oldest block that is not given up: where a replay must begin. */
  oldest(): LogBlock | null {
    for (const { log, write } of this.#blocks.values()) if (!write.abandoned) return log;
    return null;
  }

  /** The oldest block that is not given up, and what its first record chains to; `end`, of the log, when there is none. */
  replayPoint(end: ReplayPoint): ReplayPoint {
    const oldest = this.oldest();
    if (oldest === null) return end;
    return { index: oldest.ref.index, sequence: oldest.sequenceBefore, previous: oldest.previousBefore };
  }

  #take(ref: BlockRef): WindowBlock {
    const id = this.#table.idOf(ref);
    const block = this.#blocks.get(id);
    assert(block !== undefined, "a block that leaves was in the window");
    this.#blocks.delete(id);
    // A peer that was struck, or given up with the block, may still be sent its bytes: such a buffer is not used again [C3].
    const mayBeSent = block.write.struck || block.write.abandoned;
    if (!mayBeSent && this.#spares.length < sparesMax) this.#spares.push(block.log.buffer);
    return block;
  }
}
