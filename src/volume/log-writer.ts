// LogWriter: the log of a volume in this epoch, with its replication. Pages and ranges go in; positions come back; waiters are answered
// in log order when their position is held, or durable. It opens and ends blocks, closes batches, and commits changes of the ensemble
// before it appends under them.
//
// Batching: a record is closed at the end of the turn in which it was begun if every live member can take another append,
// else when one can (Nagle's idea): latency at depth 1, batches under load.

import { Replicator } from "#distributor";
import type { Counter } from "#host";
import type { BlockRef } from "#model";
import { assert, TorusError } from "#model";
import { Condition } from "./condition.ts";
import { EnsembleKeeper } from "./ensemble-keeper.ts";
import { LogWaiters } from "./log-waiters.ts";
import type { WindowBlock } from "./log-window.ts";
import { LogWindow } from "./log-window.ts";
import type { LogWriterDeps, LogWriterListener, LogWriterOptions } from "./log-writer-options.ts";
import { PlacementMachine } from "./placement-machine.ts";
import type { LogPlace } from "./record-codec.ts";
import { SpaceKeeper } from "./space-keeper.ts";
import type { LogBlock } from "./write-log.ts";
import { WriteLog } from "./write-log.ts";

/** Blocks the log runs ahead of the slowest peer by when space is tight. */
const unbegunBlocksMax = 2;

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #deps: LogWriterDeps;
  readonly #listener: LogWriterListener;
  readonly #log: WriteLog;
  readonly #replicator: Replicator;
  readonly #placement: PlacementMachine;
  readonly #ensembles: EnsembleKeeper;
  readonly #window: LogWindow;
  readonly #waiters = new LogWaiters();
  #open: WindowBlock | null = null;
  #nextIndex = 1;
  #pumpQueued = false;
  readonly #condition: Condition;
  readonly #space: SpaceKeeper;
  #lost: TorusError | null = null;
  #lastEnd = { index: 1, offset: 0 };
  #ending = false;
  #abandonments = 0;
  readonly #abandoned: Counter;

  constructor(options: LogWriterOptions, deps: LogWriterDeps, listener: LogWriterListener) {
    this.#options = options;
    this.#deps = deps;
    this.#listener = listener;
    this.#abandoned = deps.metrics.counter(
      "torus_volume_abandoned_blocks_total",
      "Blocks whose pages were appended again because too few copies were left",
    );
    this.#condition = new Condition({ ...deps, onChange: (condition) => listener.onCondition(condition) });
    this.#window = new LogWindow(options, deps);
    this.#log = new WriteLog({ sequence: 0, previous: 0, position: 0 });
    this.#placement = new PlacementMachine(options.volume, options.epoch, options.firstRow);
    this.#replicator = new Replicator(options.replicator, deps, {
      onProgress: () => this.#progress(),
      onOverdue: () => this.#ensembles.reconfigure(),
      onFenced: (message) => this.lose(new TorusError("attachment-lost", message)),
      onFull: (peer) => this.#space.refused(peer, this.held),
    });
    this.#space = new SpaceKeeper(
      { blockBytes: options.blockBytes, askEveryMs: options.returnEveryMs },
      {
        ...deps,
        onCondition: (condition) => this.#condition.set(condition),
        onExhausted: (error) => {
          this.#waiters.failUnheld(this.held, error);
          this.#waiters.wake();
          listener.onFull(error);
        },
        onChange: (isFull) => {
          this.#replicator.mayUseReserve = isFull;
          listener.onRoom();
        },
      },
    );
    this.#ensembles = new EnsembleKeeper({
      ...deps,
      placement: this.#placement,
      replicator: this.#replicator,
      minReplicas: options.minReplicas,
      returnEveryMs: options.returnEveryMs,
      nextIndex: () => this.#nextIndex,
      endOpenBlock: () => this.#endBlock(),
      isLost: () => this.#lost !== null,
      lose: (error) => this.lose(error),
      onCondition: (condition) => this.#condition.set(condition),
      onStruck: () => listener.onStruck(),
      onMove: () => this.#abandon(),
      onSettled: () => this.#progress(),
    });
  }

  get placement(): PlacementMachine {
    return this.#placement;
  }

  get position(): number {
    return this.#log.position;
  }

  get held(): number {
    return this.#replicator.machine.held;
  }

  get durable(): number {
    return this.#replicator.machine.durable;
  }

  /** Some peer has no space for new data; what frees space still goes on. */
  get isFull(): boolean {
    return this.#space.isFull;
  }

  /** How often full peers got space back. */
  get spaceReturns(): number {
    return this.#space.returns;
  }

  /** Why not even what frees space goes on; null while it does. */
  get exhaustion(): TorusError | null {
    return this.#space.exhaustion;
  }

  /** Bytes of the log that this process still has, by block id. */
  windowBlock(id: number): LogBlock | undefined {
    return this.#window.find(id);
  }

  /** Room for at least one more page, `moved` or new (or for a range): opens the next block if it may. False: wait for `onRoom`. */
  makeRoom(moved = false): boolean {
    if (this.#lost !== null) return false;
    if (this.#log.roomPages(moved) > 0) return true;
    this.#endBlock();
    return this.#openBlock();
  }

  /** New pages that fit before `makeRoom` must be asked again. */
  get roomPages(): number {
    return this.#log.roomPages();
  }

  /**
   * Appends a page, which was at `from` in the log (null: its content is new). Returns its place: the block's id and the page in it. Call
   * only with room.
   */
  appendPage(
    page: number,
    source: Uint8Array,
    sourceOffset: number,
    from: LogPlace | null = null,
  ): { id: number; offset: number; checksum: number } {
    const open = this.#open;
    assert(open !== null, "a block is open");
    if (!this.#log.recordHasRoom(from !== null)) this.#closeRecord(open);
    const offset = this.#log.addPage(page, source, sourceOffset, from);
    this.#schedulePump();
    return { id: open.log.id, offset, checksum: this.#log.lastChecksum };
  }

  /** The page at (id, offset) is in the record still being gathered: writing it again needs a new record. */
  isGathering(id: number, offset: number): boolean {
    return this.#open !== null && this.#open.log.id === id && this.#log.isGathering(offset);
  }

  /** Closes the record being gathered, so that the same page may occur again. There may be no room afterwards. */
  splitRecord(): void {
    if (this.#open !== null) this.#closeRecord(this.#open);
  }

  /** As `makeRoom`, for one more range. */
  makeRoomForRange(): boolean {
    if (this.#lost !== null) return false;
    if (this.#open !== null && !this.#log.rangesHaveRoom) this.#closeRecord(this.#open);
    return this.#log.gathering || this.makeRoom();
  }

  /** Appends "these pages are zero". Call only after `makeRoomForRange`. */
  appendRange(first: number, count: number): void {
    this.#log.addRange(first, count);
    this.#schedulePump();
  }

  /** Resolves when everything below `position` is held by every member. */
  waitHeld(position: number): Promise<void> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    if (position <= this.held) return Promise.resolve();
    if (this.exhaustion !== null) return Promise.reject(this.exhaustion);
    return this.#waiters.untilHeld(position);
  }

  /** Resolves when everything below `position` is durable on every member. */
  waitDurable(position: number): Promise<void> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    if (position <= this.durable) return Promise.resolve();
    if (this.exhaustion !== null && position > this.held) return Promise.reject(this.exhaustion);
    this.#replicator.machine.requestDurable(position);
    this.#schedulePump();
    return this.#waiters.untilDurable(position);
  }

  /**
   * From where a head that has everything below the log's end must replay: the oldest block not sealed everywhere, and what its first
   * record chains to.
   */
  replayPoint(): { index: number; sequence: number; previous: number } {
    return this.#window.replayPoint({ ...this.#log.chainEnd, index: this.#nextIndex });
  }

  /** Index and offset of the log's end, everything gathered included once closed. */
  endPoint(): { index: number; offset: number } {
    const block = this.#log.block;
    // Between two blocks it is the end of the last one: nobody may ever have a byte of the next.
    return block === null ? this.#lastEnd : { index: block.ref.index, offset: block.length };
  }

  /** Closes the record being gathered and sends it, whatever is in flight. */
  closeBatch(): void {
    if (this.#open !== null) this.#closeRecord(this.#open);
    this.#replicator.run();
  }

  /** Ends the open block and resolves when every block is sealed on all its members. Nothing may be appended any more. */
  async end(): Promise<void> {
    this.#ending = true;
    this.#endBlock();
    this.#replicator.run();
    await this.waitDurable(this.position);
    await this.#until(() => this.#window.size === 0, false);
  }

  /** Ends the open block; true once all are sealed on every member, false when abandoned ones hold them up. Rejects rather than wait for space. */
  async seal(): Promise<boolean> {
    this.#endBlock();
    await this.#until(() => this.#window.size === 0 || this.#window.hasAbandoned, true);
    return this.#window.size === 0;
  }

  /** No block of this epoch will ever be appended to again. */
  get isEnded(): boolean {
    return this.#ending && this.#window.size === 0;
  }

  /** The attachment is over: everything that waits, and everything later, fails with `error`. */
  lose(error: TorusError): void {
    if (this.#lost !== null) return;
    this.#stop(error);
    this.#listener.onLost(error);
  }

  close(): void {
    this.#stop(new TorusError("closed", "the volume was closed"));
  }

  #stop(error: TorusError): void {
    this.#lost ??= error;
    this.#replicator.close();
    this.#ensembles.close();
    this.#space.close();
    this.#waiters.fail(error);
    this.#waiters.wake();
  }

  /** A head that replays from `replayFrom` is committed: what came before needs no rows, and no abandoned copies. */
  forgetBefore(replayFrom: number): void {
    this.#ensembles.forgetBefore(replayFrom);
    const released = this.#replicator.machine.releaseAbandoned(replayFrom);
    for (const { ref } of released) this.#window.drop(ref);
    if (released.length > 0) this.#progress();
  }

  /** Raised whenever blocks are abandoned: a checkpoint encoded before must not be committed. */
  get abandonments(): number {
    return this.#abandonments;
  }

  /** Abandoned blocks that the map still points into. */
  get hasLiveAbandoned(): boolean {
    return this.#window.hasLiveAbandoned;
  }

  /**
   * Resolves with true when everything below `position` is durable on every member, abandoned blocks left aside; with false when blocks
   * were abandoned since `abandonments` was as given. Waits for space when there is none, or rejects (`unlessFull`).
   */
  async waitSettled(position: number, abandonments: number, unlessFull = false): Promise<boolean> {
    const { machine } = this.#replicator;
    machine.requestDurable(position);
    this.#schedulePump();
    await this.#until(() => this.#abandonments !== abandonments || machine.isSettled(position), unlessFull);
    return this.#abandonments === abandonments;
  }

  /** Rejects when the attachment is over, or, with `unlessFull`, when it would have to wait for space. */
  async #until(isSo: () => boolean, unlessFull: boolean): Promise<void> {
    for (;;) {
      if (this.#lost !== null) throw this.#lost;
      if (isSo()) return;
      if (unlessFull && this.exhaustion !== null) throw this.exhaustion;
      await this.#waiters.untilAny();
    }
  }

  #abandon(): void {
    const given = this.#replicator.machine.abandon();
    this.#abandonments += 1;
    this.#abandoned.add(given.length);
    this.#deps.log.warn("blocks have too few live copies left; their pages are appended again", {
      blocks: given.length,
    });
    this.#listener.onAbandoned(this.#window.logsOf(given));
    this.#waiters.wake();
  }

  /** Another block fits: in memory (beside abandoned ones, whose pages must go on), and in what peers keep back when they are full. */
  get #hasRoomForBlock(): boolean {
    if (this.#window.keptBytes >= this.#options.windowBytesMax()) return false;
    if (!this.isFull && !this.#deps.isTight()) return true;
    return this.#replicator.machine.unbegunBlocks < unbegunBlocksMax;
  }

  /** The ring, or who lives, has changed. */
  reconfigure(): void {
    this.#ensembles.reconfigure();
  }

  #openBlock(): boolean {
    if (this.#ending || !this.#ensembles.mayOpen() || !this.#hasRoomForBlock) return false;
    const index = this.#nextIndex;
    const members = this.#ensembles.membersOf(index);
    if (members.length < this.#options.minReplicas) {
      this.#condition.set(
        `the ring offers ${members.length} peers for a new block and ${this.#options.minReplicas} are needed; waiting for peers`,
      );
      return false;
    }
    this.#condition.set(this.#space.condition);
    const ref: BlockRef = this.#placement.refOf(index);
    const buffer = this.#window.takeBuffer();
    const base = this.#log.position;
    const log = this.#log.open(ref, this.#deps.table.add(ref), buffer);
    const write = this.#replicator.machine.open(ref, base, this.#options.blockBytes, buffer, members);
    this.#open = { log, write };
    this.#window.add(this.#open);
    this.#nextIndex = index + 1;
    return true;
  }

  #closeRecord(open: WindowBlock): void {
    if (!this.#log.gathering) return;
    const { times, isServing } = this.#deps;
    this.#log.closeRecord(times.next(), this.#replicator.machine.durablePoint(), isServing());
    this.#replicator.machine.extend(open.write, open.log.length);
  }

  /** Ends the open block, if there is one. */
  #endBlock(): void {
    const open = this.#open;
    if (open === null) return;
    this.#closeRecord(open);
    const { ref, length } = this.#log.endBlock();
    this.#lastEnd = { index: ref.index, offset: length };
    this.#open = null;
    this.#replicator.machine.end(open.write, open.log.checksum);
    this.#schedulePump();
  }

  #schedulePump(): void {
    if (this.#pumpQueued) return;
    this.#pumpQueued = true;
    queueMicrotask(() => {
      this.#pumpQueued = false;
      if (this.#lost === null) this.#pump();
    });
  }

  #pump(): void {
    const open = this.#open;
    if (open !== null && this.#log.gathering && this.#replicator.machine.canTakeAppend())
      this.#closeRecord(open);
    this.#replicator.run();
  }

  #progress(): void {
    if (this.#lost !== null) return;
    const { machine } = this.#replicator;
    this.#space.advanced(machine.held);
    this.#ensembles.recheck();
    this.#waiters.reached(machine.held, machine.durable);
    for (const { ref } of machine.takeSealed()) this.#window.leave(ref);
    this.#waiters.wake();
    this.#pump();
    this.#listener.onRoom();
  }
}
