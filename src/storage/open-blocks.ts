// OpenBlocks: the blocks being appended, by slot: their buffers, and when their bytes are written. Appended bytes wait in
// the buffer until 128 KiB of a block are dirty, a flush wants them, or a short timer fires, so that many small records
// become one write. Everything here is synchronous: a block's state never changes between a check and its act.

import type { Clock, Timer } from "#host";
import { assert } from "#model";
import type { BufferPool } from "./buffer-pool.ts";
import type { DataFile } from "./data-file.ts";
import type { Health } from "./health.ts";
import type { OpenBlock } from "./open-block.ts";

export interface OpenBlocksDeps {
  readonly data: DataFile;
  readonly pool: BufferPool;
  readonly clock: Clock;
  readonly health: Health;
}

/** Dirty bytes of one block that are written without being asked for. */
const dirtyBytesMax = 128 * 1024;
/** Dirty bytes wait at most this long. */
const dirtyMsMax = 10;

export class OpenBlocks {
  readonly #deps: OpenBlocksDeps;
  readonly #bySlot = new Map<number, OpenBlock>();
  /** By slot class: blocks with a buffer, the one looked at next first. */
  readonly #buffered: Set<OpenBlock>[];
  readonly #dirty = new Set<OpenBlock>();
  /** Written further than durable. */
  readonly #unflushed = new Set<OpenBlock>();
  /** To be written before the next fdatasync. */
  readonly #wanted = new Set<OpenBlock>();
  #timer: Timer | null = null;

  constructor(deps: OpenBlocksDeps) {
    this.#deps = deps;
    this.#buffered = deps.data.layout.classes.map(() => new Set());
  }

  get(slot: number): OpenBlock | undefined {
    return this.#bySlot.get(slot);
  }

  all(): Iterable<OpenBlock> {
    return this.#bySlot.values();
  }

  add(block: OpenBlock): void {
    this.#bySlot.set(block.slot, block);
  }

  /** Forgets `block`: sealed, replaced or removed. Its slot is the caller's. */
  drop(block: OpenBlock): void {
    block.gone = true;
    this.#bySlot.delete(block.slot);
    this.#dirty.delete(block);
    this.#unflushed.delete(block);
    this.#wanted.delete(block);
    this.#releaseBuffer(block);
  }

  /** Copies verified `bytes` to the end of what is held; the caller extends the block right after. */
  copyIn(block: OpenBlock, bytes: Uint8Array): void {
    const buffer = block.buffer ?? this.#giveBuffer(block);
    block.touched = true;
    buffer.set(bytes, block.held);
  }

  /** After `extend`: writes the block when enough is dirty, else sees to it that it is written soon. */
  noteDirty(block: OpenBlock): void {
    if (block.held - block.written >= dirtyBytesMax) {
      this.writeOut(block);
      return;
    }
    this.#dirty.add(block);
    this.#timer ??= this.#deps.clock.setTimer(dirtyMsMax, () => this.#writeDirty());
  }

  /** Has `block` written before the next fdatasync that starts. */
  want(block: OpenBlock): void {
    this.#wanted.add(block);
  }

  wantAll(): void {
    for (const block of this.#dirty) this.#wanted.add(block);
  }

  /** Writes what is dirty of `block`, its entry first; throws `poisoned`. */
  writeOut(block: OpenBlock): void {
    assert(!block.gone, "nothing is written for a block that is gone");
    const { data } = this.#deps;
    if (!block.entryWritten) {
      this.#writeEntry(block);
      block.entryWritten = true;
    }
    if (block.written < block.held) {
      assert(block.buffer !== null && block.bufferFrom <= block.written, "dirty bytes are in the buffer");
      data.writeSlot(block.slot, block.written, block.buffer.subarray(block.written, block.held));
      block.written = block.held;
      this.#unflushed.add(block);
    }
    this.#dirty.delete(block);
  }

  /** For the flusher: writes what is wanted; the answer, called after the fdatasync, makes what was written durable. */
  prepareFlush(): () => void {
    for (const block of this.#wanted) this.writeOut(block);
    this.#wanted.clear();
    const covered = [...this.#unflushed].map((block) => ({ block, written: block.written }));
    this.#unflushed.clear();
    return () => {
      for (const { block, written } of covered) block.durable = Math.max(block.durable, written);
    };
  }

  /** Fills `target` with held bytes from `offset` on. */
  read(block: OpenBlock, offset: number, target: Uint8Array): void {
    assert(offset + target.length <= block.held, "only held bytes are read");
    const { buffer, bufferFrom } = block;
    const fromSlot =
      buffer === null ? target.length : Math.min(target.length, Math.max(0, bufferFrom - offset));
    if (fromSlot > 0) this.#deps.data.readSlot(block.slot, offset, target.subarray(0, fromSlot));
    if (buffer !== null && fromSlot < target.length) {
      target.set(buffer.subarray(offset + fromSlot, offset + target.length), fromSlot);
      block.touched = true;
    }
  }

  /** Whether held bytes from `offset` on are `bytes`. */
  holds(block: OpenBlock, offset: number, bytes: Uint8Array): boolean {
    return Buffer.compare(this.view(block, offset, bytes.length), bytes) === 0;
  }

  /** `length` held bytes at `offset` without a copy where the buffer has them; valid until the next call. */
  view(block: OpenBlock, offset: number, length: number): Uint8Array {
    if (block.buffer !== null && block.bufferFrom <= offset)
      return block.buffer.subarray(offset, offset + length);
    const copy = new Uint8Array(length);
    this.read(block, offset, copy);
    return copy;
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #writeEntry(block: OpenBlock): void {
    const { ref, slot, capacity } = block;
    this.#deps.data.writeEntry(slot, { state: "open", ref, length: capacity, checksum: 0 });
  }

  #writeDirty(): void {
    this.#timer = null;
    if (this.#deps.health.poison !== null) return;
    try {
      for (const block of this.#dirty) this.writeOut(block);
    } catch {
      // The store is poisoned by now, which is where everybody learns of it.
    }
  }

  #giveBuffer(block: OpenBlock): Uint8Array {
    assert(block.written === block.held, "a block without a buffer has nothing dirty");
    const { pool } = this.#deps;
    let buffer = pool.take(block.slotClass);
    if (buffer === null) {
      this.#evict(block.slotClass);
      buffer = pool.take(block.slotClass);
    }
    assert(buffer !== null, "an evicted buffer can be taken");
    block.buffer = buffer;
    block.bufferFrom = block.held;
    this.#buffered[block.slotClass].add(block);
    return buffer;
  }

  /** Takes the buffer of a block that was not used since it was last looked at. */
  #evict(slotClass: number): void {
    const buffered = this.#buffered[slotClass];
    for (const block of buffered) {
      if (block.touched) {
        // Moves to the end of the set, where this loop finds it again.
        block.touched = false;
        buffered.delete(block);
        buffered.add(block);
        continue;
      }
      this.writeOut(block);
      this.#releaseBuffer(block);
      return;
    }
    assert(false, "some open block has a buffer when none is free");
  }

  #releaseBuffer(block: OpenBlock): void {
    if (block.buffer === null) return;
    this.#buffered[block.slotClass].delete(block);
    this.#deps.pool.give(block.slotClass, block.buffer);
    block.buffer = null;
  }
}
