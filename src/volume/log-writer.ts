// LogWriter: the log of a volume in this epoch, with its replication. Pages and ranges go in; positions come back; waiters are answered
// in log order when their position is held, or durable. It opens and ends blocks, closes batches, and commits changes of the ensemble
// before it appends under them.
//
// Batching: a record is closed at the end of the turn in which it was begun if every live member can take another append,
// else when one can (Nagle's idea): latency at depth 1, batches under load.

import { Replicator } from "#distributor";
import type { Counter, Log } from "#host";
import type { BlockRef, PeerId } from "#model";
import { assert, TorusError } from "#model";
import { EnsembleKeeper } from "./ensemble-keeper.ts";
import type { WindowBlock } from "./log-window.ts";
import { LogWindow } from "./log-window.ts";
import type { LogWriterDeps, LogWriterListener, LogWriterOptions } from "./log-writer-options.ts";
import { PlacementMachine } from "./placement-machine.ts";
import { PositionQueue } from "./position-queue.ts";
import type { LogBlock } from "./write-log.ts";
import { WriteLog } from "./write-log.ts";

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #deps: LogWriterDeps;
  readonly #listener: LogWriterListener;
  readonly #log: WriteLog;
  readonly #replicator: Replicator;
  readonly #placement: PlacementMachine;
  readonly #ensembles: EnsembleKeeper;
  readonly #window: LogWindow;
  readonly #heldQueue = new PositionQueue();
  readonly #durableQueue = new PositionQueue();
  #open: WindowBlock | null = null;
  #nextIndex = 1;
  #pumpQueued = false;
  #condition = "";
  #fullPeer: PeerId | null = null;
  #fullAt = 0;
  #lost: TorusError | null = null;
  #lastEnd = { index: 1, offset: 0 };
  #ending = false;
  #abandonments = 0;
  readonly #abandoned: Counter;
  #progressWaiters: (() => void)[] = [];
  readonly #logger: Log;

  constructor(options: LogWriterOptions, deps: LogWriterDeps, listener: LogWriterListener) {
    this.#options = options;
    this.#deps = deps;
    this.#listener = listener;
    this.#logger = deps.log;
    this.#abandoned = deps.metrics.counter(
      "torus_volume_abandoned_blocks_total",
      "Blocks whose pages were appended again because too few copies were left",
    );
    this.#window = new LogWindow(options, deps);
    this.#log = new WriteLog({ sequence: 0, previous: 0, position: 0 });
    this.#placement = new PlacementMachine(options.volume, options.epoch, options.firstRow);
    this.#replicator = new Replicator(options.replicator, deps, {
      onProgress: () => this.#progress(),
      onOverdue: () => this.#ensembles.reconfigure(),
      onFenced: (message) => this.lose(new TorusError("attachment-lost", message)),
      onFull: (peer) => this.#full(peer),
    });
    this.#ensembles = new EnsembleKeeper({
      ...deps,
      placement: this.#placement,
      replicator: this.#replicator,
      minReplicas: options.minReplicas,
      returnEveryMs: options.returnEveryMs,
      nextIndex: () => this.#nextIndex,
      endOpenBlock: () => {
        if (this.#open !== null) this.#endBlock();
      },
      isLost: () => this.#lost !== null,
      lose: (error) => this.lose(error),
      onCondition: (condition) => this.#setCondition(condition),
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

  get isFull(): boolean {
    return this.#fullPeer !== null;
  }

  /** Bytes of the log that this process still has, by block id. */
  windowBlock(id: number): LogBlock | undefined {
    return this.#window.find(id);
  }

  /**
   * Room for at least one more page (or range): opens the next block if it may. False: wait for `onRoom`.
   */
  makeRoom(): boolean {
    if (this.#lost !== null) return false;
    if (this.#log.roomPages() > 0) return true;
    if (this.#open !== null) this.#endBlock();
    return this.#openBlock();
  }

  /** Pages that fit before `makeRoom` must be asked again. */
  get roomPages(): number {
    return this.#log.roomPages();
  }

  /** Appends a page. Returns its place: the block's id and the page in it. Call only with room. */
  appendPage(
    page: number,
    source: Uint8Array,
    sourceOffset: number,
  ): { id: number; offset: number; checksum: number } {
    const open = this.#open;
    assert(open !== null, "a block is open");
    if (!this.#log.recordHasRoom) this.#closeRecord(open);
    const offset = this.#log.addPage(page, source, sourceOffset);
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
    if (this.#fullPeer !== null) return Promise.reject(this.#fullError());
    return this.#heldQueue.wait(position);
  }

  /** Resolves when everything below `position` is durable on every member. */
  waitDurable(position: number): Promise<void> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    if (position <= this.durable) return Promise.resolve();
    if (this.#fullPeer !== null && position > this.held) return Promise.reject(this.#fullError());
    this.#replicator.machine.requestDurable(position);
    this.#schedulePump();
    return this.#durableQueue.wait(position);
  }

  /**
   * From where a head that has everything below the log's end must replay: the oldest block not sealed everywhere, and what its first
   * record chains to.
   */
  replayPoint(): { index: number; sequence: number; previous: number } {
    const oldest = this.#window.oldest();
    if (oldest !== null) {
      return { index: oldest.ref.index, sequence: oldest.sequenceBefore, previous: oldest.previousBefore };
    }
    return { index: this.#nextIndex, sequence: this.#log.sequence, previous: this.#log.previous };
  }

  /** Index and offset of the log's end, everything gathered included once closed. */
  endPoint(): { index: number; offset: number } {
    const block = this.#log.block;
    // Between two blocks it is the end of the last one: nobody may ever have a byte of the next.
    if (block === null) return this.#lastEnd;
    return { index: block.ref.index, offset: block.length };
  }

  /** Closes the record being gathered and sends it, whatever is in flight. */
  closeBatch(): void {
    if (this.#open !== null) this.#closeRecord(this.#open);
    this.#replicator.run();
  }

  /** Ends the open block and resolves when every block is sealed on all its members. Nothing may be appended any more. */
  async end(): Promise<void> {
    this.#ending = true;
    if (this.#open !== null) this.#endBlock();
    this.#replicator.run();
    await this.waitDurable(this.position);
    while (this.#window.size > 0 && this.#lost === null) {
      await new Promise<void>((resolve) => this.#progressWaiters.push(resolve));
    }
    if (this.#lost !== null) throw this.#lost;
  }

  /** The attachment is over: everything that waits, and everything later, fails with `error`. */
  lose(error: TorusError): void {
    if (this.#lost !== null) return;
    this.#lost = error;
    this.#stop();
    this.#heldQueue.rejectAll(error);
    this.#durableQueue.rejectAll(error);
    this.#wakeProgressWaiters();
    this.#listener.onLost(error);
  }

  close(): void {
    const error = new TorusError("closed", "the volume was closed");
    this.#lost ??= error;
    this.#stop();
    this.#heldQueue.rejectAll(error);
    this.#durableQueue.rejectAll(error);
  }

  #stop(): void {
    this.#replicator.close();
    this.#ensembles.close();
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
   * were abandoned since `abandonments` was as given.
   */
  async waitSettled(position: number, abandonments: number): Promise<boolean> {
    const { machine } = this.#replicator;
    machine.requestDurable(position);
    this.#schedulePump();
    while (this.#lost === null) {
      if (this.#abandonments !== abandonments) return false;
      if (machine.isSettled(position)) return true;
      await new Promise<void>((resolve) => this.#progressWaiters.push(resolve));
    }
    throw this.#lost;
  }

  #abandon(): void {
    const given = this.#replicator.machine.abandon();
    this.#abandonments += 1;
    this.#abandoned.add(given.length);
    this.#logger.warn("blocks have too few live copies left; their pages are appended again", {
      blocks: given.length,
    });
    this.#listener.onAbandoned(this.#window.logsOf(given));
    this.#wakeProgressWaiters();
  }

  #wakeProgressWaiters(): void {
    const waiters = this.#progressWaiters;
    this.#progressWaiters = [];
    for (const resolve of waiters) resolve();
  }

  /** Another block fits. While blocks are abandoned, their pages need room besides them. */
  get #hasRoomForBlock(): boolean {
    const factor = this.#window.hasAbandoned ? 2 : 1;
    return this.#window.bytes < this.#options.windowBytesMax * factor;
  }

  /** The ring, or who lives, has changed. */
  reconfigure(): void {
    this.#ensembles.reconfigure();
  }

  #openBlock(): boolean {
    if (this.#ending || !this.#ensembles.mayOpen()) return false;
    if (!this.#hasRoomForBlock) return false;
    const index = this.#nextIndex;
    const members = this.#ensembles.membersOf(index);
    if (members.length < this.#options.minReplicas) {
      this.#setCondition(
        `the ring offers ${members.length} peers for a new block and ${this.#options.minReplicas} are needed; waiting for peers`,
      );
      return false;
    }
    this.#setCondition("");
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
    this.#log.closeRecord(this.#deps.clock.wallMs(), this.#replicator.machine.durablePoint());
    this.#replicator.machine.extend(open.write, open.log.length);
  }

  #endBlock(): void {
    const open = this.#open;
    assert(open !== null, "a block is open");
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
    if (this.#fullPeer !== null && machine.held > this.#fullAt) {
      this.#fullPeer = null;
      this.#setCondition("");
    }
    this.#ensembles.recheck();
    this.#heldQueue.resolveUpTo(machine.held);
    this.#durableQueue.resolveUpTo(machine.durable);
    for (const { ref } of machine.takeSealed()) this.#window.leave(ref);
    this.#wakeProgressWaiters();
    this.#pump();
    this.#listener.onRoom();
  }

  #full(peer: PeerId): void {
    if (this.#fullPeer === null) {
      this.#fullAt = this.held;
      this.#logger.warn("a peer is full; writes fail until it has space", { peer });
    }
    this.#fullPeer = peer;
    this.#setCondition(`peer ${peer} is full: add space or peers, or delete data`);
    this.#heldQueue.rejectAll(this.#fullError());
    // What is held can still become durable; what is not held never may, and nobody is left waiting for it.
    this.#durableQueue.rejectAbove(this.held, this.#fullError());
    this.#listener.onFull(this.#fullError());
    this.#listener.onRoom();
  }

  #fullError(): TorusError {
    return new TorusError("full", `peer ${this.#fullPeer} has no space for new data`);
  }

  #setCondition(condition: string): void {
    if (condition === this.#condition) return;
    this.#condition = condition;
    if (condition !== "") this.#logger.warn("writes wait", { condition });
    this.#listener.onCondition(condition);
  }
}
