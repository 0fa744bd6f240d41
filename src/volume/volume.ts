// Volume: a block device over a log, attached for writing. It splits requests into pages, holds them while the lease is in doubt,
// answers at the durability the volume is set to, and keeps checkpoints coming.
//
// Invariant [C19]: after the attachment is lost every request fails; nothing is answered OK that could not be kept.

import type { Timer } from "#host";
import { sleep } from "#host";
import type { CutRecord, FoundSnapshot, SnapshotRecord } from "#metadata";
import type { TakeMemory } from "#model";
import { isTorusError, messageOf, pageBytes, TorusError } from "#model";
import type { BlockDeviceInfo, Extent } from "./block-device.ts";
import type { AttachedVolume } from "./catalog.ts";
import { rangeProblem } from "./device-range.ts";
import { inTime } from "./in-time.ts";
import { mapExtents } from "./map-extents.ts";
import type { PageSpan } from "./page-span.ts";
import { inSpan, spanOf } from "./page-span.ts";
import { mappedParts } from "./replay.ts";
import type { Position } from "./request-queue.ts";
import { settleAll } from "./request-queue.ts";
import type { PresentMap } from "./snapshot-changes.ts";
import { SnapshotChanges } from "./snapshot-changes.ts";
import type { SnapshotWish } from "./snapshot-keeper.ts";
import type { VolumeOrders } from "./volume-orders.ts";
import type { VolumeDeps, VolumeOptions, VolumeSpace } from "./volume-parts.ts";

export class Volume implements AttachedVolume {
  readonly lost: Promise<TorusError>;
  readonly #options: VolumeOptions;
  readonly #deps: VolumeDeps;
  readonly #changes: SnapshotChanges;
  #announceLost: (error: TorusError) => void = () => {};
  #error: TorusError | null = null;
  #hold: Promise<void> | null = null;
  #releaseHold: () => void = () => {};
  /** Log position up to which requests were answered: what a flush covers. */
  #answered = 0;
  #timer: Timer | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: VolumeOptions, deps: VolumeDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#changes = new SnapshotChanges({ volume: deps.size.info.name }, deps);
    this.lost = new Promise((resolve) => {
      this.#announceLost = resolve;
    });
    this.#scheduleCheckpoint();
    deps.orders.open();
  }

  get info(): BlockDeviceInfo {
    return this.#deps.size.info;
  }

  /** What it takes now; nothing once it is closed or lost. */
  get space(): VolumeSpace {
    return this.#error === null ? this.#deps.space() : { liveBytes: 0, logBytes: 0 };
  }

  read(offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    const pending = this.#admitNow(offset, length);
    if (pending !== null) return pending.then(() => this.read(offset, length, take));
    if (length === 0) return Promise.resolve(new Uint8Array(0));
    const span = spanOf(offset, length);
    const reading = this.#deps.reader.read(span.first, span.count, take);
    if (reading instanceof Promise || !this.#deps.mayServe()) return this.#readOn(span, reading);
    return Promise.resolve(inSpan(span, reading));
  }

  /** A read that took so long that its pages were overwritten and their block collected looks again where they are. */
  async #readOn(span: PageSpan, reading: Uint8Array | Promise<Uint8Array>): Promise<Uint8Array> {
    const bytes = await Promise.resolve(reading).catch((error: unknown) => {
      if (!isTorusError(error, "corrupt") || this.#error !== null) throw this.#error ?? error;
      return this.#deps.reader.read(span.first, span.count);
    });
    await this.#mayTell();
    return inSpan(span, bytes);
  }

  async extents(offset: number, length: number, countMax: number): Promise<readonly Extent[]> {
    await this.#admit(offset, length);
    const extents = await mapExtents(this.#deps.map, { offset, length, countMax });
    await this.#mayTell();
    return extents;
  }

  async changedSince(
    snapshot: string,
    offset: number,
    length: number,
    countMax: number,
  ): Promise<readonly Extent[]> {
    await this.#admit(offset, length);
    const { map, checkpointer } = this.#deps;
    const end = Math.ceil((offset + length) / pageBytes);
    const present = (): PresentMap => ({
      root: checkpointer.root,
      changed: map.changedLeaves(Math.floor(offset / pageBytes), end),
    });
    const extents = await this.#changes.since(snapshot, present, { offset, length, countMax });
    await this.#mayTell();
    return extents;
  }

  /** The lease may have come into doubt while peers were asked, or while this process was stopped [C24]. */
  async #mayTell(): Promise<void> {
    while (this.#error === null && !this.#deps.mayServe()) await sleep(this.#deps.clock, doubtMs);
    if (this.#hold !== null) await this.#hold;
    if (this.#error !== null) throw this.#error;
  }

  write(offset: number, bytes: Uint8Array, fua: boolean): Promise<void> {
    const pending = this.#admitNow(offset, bytes.length);
    if (pending !== null) {
      const copy = Uint8Array.from(bytes);
      return pending.then(() => this.write(offset, copy, fua));
    }
    return this.#write(offset, bytes, fua);
  }

  trim(offset: number, length: number, fua: boolean): Promise<void> {
    return this.#enter(offset, length, () => this.#trim(offset, length, fua));
  }

  async #trim(offset: number, length: number, fua: boolean): Promise<void> {
    const first = Math.ceil(offset / pageBytes);
    const end = Math.floor((offset + length) / pageBytes);
    await this.#zeroPages(first, end - first, fua, []);
  }

  writeZeroes(offset: number, length: number, fua: boolean): Promise<void> {
    return this.#enter(offset, length, () => this.#writeZeroes(offset, length, fua));
  }

  async #writeZeroes(offset: number, length: number, fua: boolean): Promise<void> {
    const first = Math.ceil(offset / pageBytes);
    const end = Math.floor((offset + length) / pageBytes);
    const edges: Position[] = [];
    if (end < first) {
      edges.push(this.#deps.queue.merge(end, offset % pageBytes, new Uint8Array(length)));
    } else {
      const head = first * pageBytes - offset;
      const tail = offset + length - end * pageBytes;
      if (head > 0) edges.push(this.#deps.queue.merge(first - 1, pageBytes - head, new Uint8Array(head)));
      if (tail > 0) edges.push(this.#deps.queue.merge(end, 0, new Uint8Array(tail)));
    }
    await this.#zeroPages(first, end - first, fua, edges);
  }

  async flush(): Promise<void> {
    const target = this.#answered;
    await this.#admit(0, 0);
    await this.#deps.log.waitDurable(target);
    if (this.#hold !== null) await this.#hold;
    if (this.#error !== null) throw this.#error;
  }

  cut(): Promise<CutRecord | null> {
    return this.#deps.cut();
  }

  /** Requests wait from now on: the lease may run out. */
  hold(): void {
    if (this.#hold !== null || this.#error !== null) return;
    this.#hold = new Promise((resolve) => {
      this.#releaseHold = resolve;
    });
  }

  resume(): void {
    this.#hold = null;
    this.#releaseHold();
  }

  /** The attachment is over: all that waits and all that comes fails. */
  lose(error: TorusError): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#timer?.cancel();
    this.#deps.orders.close();
    this.#deps.queue.lose(error);
    this.#deps.log.lose(error);
    this.resume();
    this.#deps.abandon();
    this.#announceLost(error);
  }

  /** The log moved, or there may be room. */
  onRoom(): void {
    this.#deps.queue.drain();
    this.#checkpointIfDue();
  }

  /** Begins a checkpoint unless one runs. A failure ends the attachment: a head that cannot be committed means another writer, or a lost INode. */
  checkpointSoon(): void {
    const { checkpointer } = this.#deps;
    if (checkpointer.isRunning || this.#error !== null) return;
    checkpointer.run().catch((error: unknown) => {
      this.lose(
        new TorusError("attachment-lost", `a checkpoint failed: ${messageOf(error)}`, {}, { cause: error }),
      );
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  get orders(): VolumeOrders {
    return this.#deps.orders;
  }

  /** Goes back to a snapshot and closes, unless it rejects; returns what the present was kept as. */
  async restore(target: FoundSnapshot, wish: SnapshotWish): Promise<SnapshotRecord> {
    const { orders, stopCleaning } = this.#deps;
    stopCleaning();
    const kept = await orders.restore(target, wish);
    // The head is not what is in memory any more: there is no checkpoint to end with.
    this.#timer?.cancel();
    this.#closing = this.#letGo();
    await this.#closing;
    return kept;
  }

  /** What is committed stays so, whether or not the lease can be given back. */
  async #letGo(): Promise<void> {
    try {
      await this.#deps.detach(true);
    } catch (error) {
      const reason = messageOf(error);
      this.#deps.logger.warn("the lease could not be given back; it runs out by itself", { reason });
    }
    this.#end();
  }

  async #close(): Promise<void> {
    this.#timer?.cancel();
    const { stopCleaning, orders } = this.#deps;
    orders.close();
    if (this.#error !== null) return;
    stopCleaning();
    try {
      const failure = await this.#finishLog();
      // Not sealed is not lost: what was answered is made durable by itself, or else the client is told.
      const lost = failure !== null && !(await this.#isDurable(this.#answered));
      if (failure !== null) {
        this.#deps.logger.warn("the log could not be finished; the next attach recovers its end", {
          volume: this.info.name,
          reason: failure.message,
        });
      }
      await this.#deps.detach(!lost);
      if (lost) throw failure;
    } finally {
      this.#end();
    }
  }

  #end(): void {
    this.#error ??= new TorusError("closed", `volume "${this.info.name}" was closed`);
    this.#deps.log.close();
    this.#deps.abandon();
  }

  /** Seals the log everywhere and commits a checkpoint with nothing to replay. Returns why it could not, or null. */
  #finishLog(): Promise<TorusError | null> {
    const { log, checkpointer } = this.#deps;
    const finished = log
      .end()
      .then(() => checkpointer.run())
      .then(
        () => null,
        (error: unknown) =>
          error instanceof TorusError ? error : new TorusError("io", messageOf(error), {}, { cause: error }),
      );
    return this.#inTime(finished, new TorusError("timeout", "peers did not take the end of the log in time"));
  }

  #isDurable(position: number): Promise<boolean> {
    const durable = this.#deps.log.waitDurable(position).then(
      () => true,
      () => false,
    );
    return this.#inTime(durable, false);
  }

  #inTime<T>(promise: Promise<T>, otherwise: T): Promise<T> {
    return inTime(promise, otherwise, this.#options.closeTimeoutMs, this.#deps.clock);
  }

  #write(offset: number, bytes: Uint8Array, fua: boolean): Promise<void> {
    if (this.#error !== null) return Promise.reject(this.#error);
    if (bytes.length === 0) return Promise.resolve();
    if (offset % pageBytes === 0 && bytes.length % pageBytes === 0) {
      const position = this.#deps.queue.write(offset / pageBytes, bytes);
      if (typeof position === "number") return this.#answer(position, fua);
      return position.then((reached) => this.#answer(reached, fua));
    }
    return this.#writeParts(offset, bytes, fua);
  }

  /** A write that is not of whole pages: its edges are merged into theirs. */
  async #writeParts(offset: number, bytes: Uint8Array, fua: boolean): Promise<void> {
    const { queue } = this.#deps;
    const parts: Position[] = [];
    let at = 0;
    while (at < bytes.length) {
      const page = Math.floor((offset + at) / pageBytes);
      const within = (offset + at) % pageBytes;
      const left = bytes.length - at;
      const whole = within === 0 ? Math.floor(left / pageBytes) * pageBytes : 0;
      const length = whole > 0 ? whole : Math.min(left, pageBytes - within);
      const part = bytes.subarray(at, at + length);
      parts.push(whole > 0 ? queue.write(page, part) : queue.merge(page, within, part));
      at += length;
    }
    await this.#answer(Math.max(...(await settleAll(parts))), fua);
  }

  async #zeroPages(first: number, count: number, fua: boolean, edges: Position[]): Promise<void> {
    const { map, queue, log } = this.#deps;
    const positions = [...edges];
    // Small ranges go in as one; of large ones only the parts that have content, so that trimming an empty disk is quick.
    if (count > 0 && count <= smallRangePages) positions.push(queue.zero(first, count));
    else if (count > 0) {
      for await (const part of mappedParts(map, first, count)) {
        // The volume may have become smaller meanwhile.
        await this.#enter(part.first * pageBytes, part.count * pageBytes, async () => {
          positions.push(queue.zero(part.first, part.count));
        });
      }
    }
    const reached = await settleAll(positions);
    await this.#answer(reached.length === 0 ? log.held : Math.max(...reached), fua);
  }

  /** Resolves when the request that ends at `position` may be answered. */
  #answer(position: number, fua: boolean): Promise<void> {
    const { log } = this.#deps;
    const waited = fua ? log.waitDurable(position) : log.waitHeld(position - this.#options.unheldBytesMax);
    return waited.then(() => this.#answeredAt(position));
  }

  #answeredAt(position: number): void | Promise<void> {
    if (this.#error !== null) throw this.#error;
    if (position > this.#answered) this.#answered = position;
  }

  /** Null when the request may go in now; else resolves when it must be asked again. */
  #admitNow(offset: number, length: number): Promise<void> | null {
    if (this.#error !== null) return Promise.reject(this.#error);
    const problem = rangeProblem(this.info, offset, length);
    if (problem !== null) return Promise.reject(problem);
    return this.#hold ?? this.#deps.size.wait(offset + length);
  }

  /** Calls `go` in the very turn in which the request may go in. */
  #enter<Result>(offset: number, length: number, go: () => Promise<Result>): Promise<Result> {
    const pending = this.#admitNow(offset, length);
    return pending === null ? go() : pending.then(() => this.#enter(offset, length, go));
  }

  async #admit(offset: number, length: number): Promise<void> {
    for (let pending = this.#admitNow(offset, length); pending !== null; ) {
      await pending;
      pending = this.#admitNow(offset, length);
    }
  }

  #checkpointIfDue(): void {
    const { map, log, checkpointer } = this.#deps;
    if (this.#closing !== null) return;
    if (
      log.position - checkpointer.position >= this.#options.checkpointBytes ||
      map.dirtyLeaves >= this.#options.checkpointLeaves
    ) {
      this.checkpointSoon();
    }
  }

  #scheduleCheckpoint(): void {
    this.#timer = this.#deps.clock.setTimer(this.#options.checkpointEveryMs, () => {
      if (this.#error !== null || this.#closing !== null) return;
      const { log, checkpointer, orders } = this.#deps;
      // Rows of older rings keep the cluster from letting those go: a checkpoint forgets them.
      const isDue = log.position > checkpointer.position || log.placement.hasOldRows;
      if (isDue || orders.isHistoryExpired()) this.checkpointSoon();
      this.#scheduleCheckpoint();
    });
  }
}

/** How often a lease in doubt is looked at again. */
const doubtMs = 20;

/** 64 MiB: below this a range is recorded whether or not it has content. */
const smallRangePages = 16_384;
