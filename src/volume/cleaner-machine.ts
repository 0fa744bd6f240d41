// CleanerMachine: which block is cleaned next, and how much now. Cleaning copies the last live pages of a block to the end of the log, so
// that the block dies; it costs reading and writing, so it is paced by how much there is to gain and by how full the pool is.
//
// Choice: cost-benefit, as in LFS (Rosenblum and Ousterhout, 1991): (1 - u) x age / (1 + u), with u the live part of a block. What is
// counted are whole blocks of space: cleaning goes on only while it leaves fewer of them, so it ends by itself on an idle volume.
//
// Pace: none below `garbageMin`. From there to `garbageMax` (or from `poolUseMin` to `poolUseMax`) the *pressure* rises from 0 to 1, and with
// it the rate, from a floor to a ceiling plus a share of what clients write: cleaning must keep up with them. At pressure 1 by the pool, or
// when it is full, nothing paces it but its own appends, one at a time.
//
// Where the pool has much room, garbage is left alone for longer: nobody needs its space yet, and the longer a block is left the less of it
// is live when it is cleaned. What is overwritten at random costs nearly twice as much where a third of the garbage is enough.

/** What is worth knowing of a volume's blocks, from one walk over its table. */
export interface CleanCandidate {
  readonly id: number;
  readonly livePages: number;
  /** Blocks written since. */
  readonly age: number;
}

export interface CleanerMachineOptions {
  /** Pages of a block, its header pages among them. */
  readonly pagesPerBlock: number;
  readonly pageBytes: number;
  /** Part of the space of settled blocks that is garbage: where cleaning begins, and where it has full pressure. */
  readonly garbageMin: number;
  readonly garbageMax: number;
  /** The same for a pool with much room. */
  readonly roomyGarbageMin: number;
  readonly roomyGarbageMax: number;
  /** How full a pool with much room is at most, and from where on it is as any other. */
  readonly roomyUseMin: number;
  readonly roomyUseMax: number;
  /** The same, by how full the pool is. */
  readonly poolUseMin: number;
  readonly poolUseMax: number;
  /** Blocks that must be gained for it to begin. */
  readonly gainBlocksMin: number;
  /** Bytes a second when nobody writes, at pressure 0 and 1. */
  readonly rateMin: number;
  readonly rateMax: number;
  /** At pressure 1 so many times what clients write comes on top. */
  readonly clientShareMax: number;
  /** How long what was cleaned may take until peers have collected it: so long it counts as given back to the pool. */
  readonly collectMs: number;
  /** When the pool needs space: what may die before a checkpoint is asked for, without which peers do not collect it. */
  readonly checkpointBytes: number;
  /** At the least between two checkpoints asked for. */
  readonly checkpointEveryMs: number;
  /** Client requests that wait are let pass for so long at pressure 0; at pressure 1 not at all. */
  readonly patienceMs: number;
}

/** A block's live part above which it is left alone: without pressure, and when the pool needs every byte. */
const liveMaxCalm = 0.8;
const liveMaxPressed = 0.95;
/** Of a block's bytes, read whole, this much counts against the pace beside what is written. */
const readShare = 0.25;
/** What died within this time is counted as one. */
const freedTogetherMs = 1000;
/** Of a small pool this part is enough to ask for a checkpoint. */
const checkpointPart = 1 / 32;
const candidatesMax = 32;
const clientRateWindowMs = 1000;
/** On a full pool cleaning lives from the peers' reserve: so many blocks are filled before space must be seen to come back. */
const reserveBlocks = 1;
/** What may be saved up while nothing could be done. */
const savedMsMax = 250;

export interface PoolState {
  /** The fullest peer's used part, 0 to 1. */
  readonly use: number;
  /** Size of a copy of the pool in bytes (all peers over replicas); 0 when not known. */
  readonly copyBytes: number;
  /** New data is refused. */
  readonly isFull: boolean;
  /** How often full peers were seen to have got space back. */
  readonly returns: number;
}

export class CleanerMachine {
  readonly #options: CleanerMachineOptions;
  #pool: PoolState = { use: 0, copyBytes: 0, isFull: false, returns: 0 };
  #blocks = 0;
  #livePages = 0;
  #best: { readonly candidate: CleanCandidate; readonly score: number }[] = [];
  #clientBytes = 0;
  #clientAtMs = 0;
  #clientRate = 0;
  /** Bytes that may be spent; below 0 they are owed. */
  #budget = 0;
  #budgetAtMs = 0;
  /** Blocks that died not long ago. */
  readonly #freed: { readonly atMs: number; bytes: number }[] = [];
  #freedBytes = 0;
  #uncommittedBytes = 0;
  #checkpointAtMs = 0;
  #stepAtMs = 0;
  /** Bytes moved since the pool was full, or since space came back. */
  #reserveUsed = 0;

  constructor(options: CleanerMachineOptions, nowMs: number) {
    this.#options = options;
    this.#clientAtMs = nowMs;
    this.#budgetAtMs = nowMs;
    this.#stepAtMs = nowMs;
    this.#checkpointAtMs = nowMs;
  }

  /** What the pool is like. */
  poolIs(pool: PoolState): void {
    if (pool.returns !== this.#pool.returns || !pool.isFull) this.#reserveUsed = 0;
    this.#pool = pool;
  }

  /** Clients have written so many bytes in all. */
  clientsWrote(nowMs: number, totalBytes: number): void {
    const elapsedMs = nowMs - this.#clientAtMs;
    if (elapsedMs <= 0) return;
    const rate = ((totalBytes - this.#clientBytes) * 1000) / elapsedMs;
    const weight = Math.min(1, elapsedMs / clientRateWindowMs);
    this.#clientRate += weight * (rate - this.#clientRate);
    this.#clientBytes = totalBytes;
    this.#clientAtMs = nowMs;
  }

  /** The settled blocks as they are now, those that others need left out. */
  survey(candidates: Iterable<CleanCandidate>): void {
    this.#blocks = 0;
    this.#livePages = 0;
    this.#best = [];
    for (const candidate of candidates) {
      this.#blocks += 1;
      this.#livePages += candidate.livePages;
      this.#consider(candidate);
    }
    this.#best.sort((a, b) => b.score - a.score);
  }

  /** Part of the surveyed blocks' space that is garbage. */
  get garbage(): number {
    if (this.#blocks === 0) return 0;
    return 1 - this.#livePages / (this.#blocks * this.#options.pagesPerBlock);
  }

  /** Whole blocks that the surveyed ones would be fewer if all were cleaned. */
  get gainBlocks(): number {
    // A block of moved pages is full but for its headers.
    const usable = Math.max(1, Math.floor(this.#options.pagesPerBlock * 0.99) - 1);
    return this.#blocks - Math.ceil(this.#livePages / usable);
  }

  /** Space that may come back: what the surveyed blocks would be fewer by, if it is worth while, and what died not long ago. */
  get debtBytes(): number {
    const gain = this.gainBlocks < this.#options.gainBlocksMin ? 0 : this.gainBlocks * this.#blockBytes;
    return gain + this.#freedBytes;
  }

  /** How hard to work, 0 to 1, as of the last survey. */
  get pressure(): number {
    if (this.gainBlocks < this.#options.gainBlocksMin) return 0;
    const byGarbage = part(this.garbage, this.#garbageMin, this.#garbageMax);
    return Math.max(byGarbage, this.#poolPressure);
  }

  /** There is enough to gain, and room to gain it. */
  get isDue(): boolean {
    if (this.#reserveUsed >= reserveBlocks * this.#blockBytes) return false;
    if (this.gainBlocks < this.#options.gainBlocksMin) return false;
    return this.garbage >= this.#garbageMin || this.#poolPressure > 0;
  }

  /** Nothing paces it but itself. */
  get isUrgent(): boolean {
    return this.isDue && this.#poolPressure >= 1;
  }

  /** The block to clean next, best first; null when the survey has no more. It may have changed since. */
  next(): CleanCandidate | null {
    return this.#best.shift()?.candidate ?? null;
  }

  /** Still worth its cost with so many live pages. */
  isWorth(livePages: number): boolean {
    const most = this.#poolPressure > 0 ? liveMaxPressed : liveMaxCalm;
    return livePages <= most * this.#options.pagesPerBlock;
  }

  /** Milliseconds until the next step may be made; 0 for now. `clientsWait`: requests are in line. */
  waitMs(nowMs: number, clientsWait: boolean): number {
    if (this.isUrgent) return 0;
    const { pressure } = this;
    this.#earn(nowMs, pressure);
    if (this.#budget < 0) return Math.max(1, (-this.#budget * 1000) / this.#rate(pressure));
    const patienceMs = this.#options.patienceMs * (1 - pressure);
    if (clientsWait && nowMs - this.#stepAtMs < patienceMs) return Math.max(1, patienceMs / 10);
    return 0;
  }

  /** A block was read, in bytes. */
  read(bytes: number): void {
    this.#budget -= bytes * readShare;
  }

  /** Pages were moved, in bytes. */
  moved(nowMs: number, bytes: number): void {
    this.#budget -= bytes;
    if (this.#pool.isFull) this.#reserveUsed += bytes;
    this.#stepAtMs = nowMs;
  }

  /** So many blocks have no live page left, by cleaning or by themselves. What died long ago has been collected, or never will be. */
  died(nowMs: number, blocks: number): void {
    const bytes = blocks * this.#blockBytes;
    while (this.#freed.length > 0 && nowMs - this.#freed[0].atMs >= this.#options.collectMs)
      this.#freedBytes -= this.#freed.shift()?.bytes ?? 0;
    if (bytes === 0) return;
    const last = this.#freed.at(-1);
    if (last !== undefined && nowMs - last.atMs < freedTogetherMs) last.bytes += bytes;
    else this.#freed.push({ atMs: nowMs, bytes });
    this.#freedBytes += bytes;
    this.#uncommittedBytes += bytes;
  }

  /** True when the pool waits for what has died, or for enough of it, and it is time; it is then asked for. `idle`: no more is cleaned now. */
  takeCheckpoint(nowMs: number, idle: boolean): boolean {
    const { checkpointBytes, checkpointEveryMs } = this.#options;
    if (this.#uncommittedBytes === 0 || !this.#poolWaits) return false;
    const { copyBytes } = this.#pool;
    const enoughBytes =
      copyBytes === 0 ? checkpointBytes : Math.min(checkpointBytes, copyBytes * checkpointPart);
    if (this.#uncommittedBytes < enoughBytes && !idle) return false;
    if (nowMs - this.#checkpointAtMs < checkpointEveryMs) return false;
    this.#uncommittedBytes = 0;
    this.#checkpointAtMs = nowMs;
    return true;
  }

  get #blockBytes(): number {
    return this.#options.pagesPerBlock * this.#options.pageBytes;
  }

  get #poolWaits(): boolean {
    return this.#pool.isFull || this.#pool.use > this.#options.poolUseMin;
  }

  get #poolPressure(): number {
    const { poolUseMin, poolUseMax } = this.#options;
    return this.#pool.isFull ? 1 : part(this.#poolUse, poolUseMin, poolUseMax);
  }

  /** What is on its way back needs no more cleaning: else a collector that takes its time makes the cleaner move everything. */
  get #poolUse(): number {
    const { use, copyBytes } = this.#pool;
    return copyBytes === 0 ? use : use - this.#freedBytes / copyBytes;
  }

  /** 1 where the pool has much room, 0 where it has not or that is not known. */
  get #roominess(): number {
    const { roomyUseMin, roomyUseMax } = this.#options;
    return this.#pool.copyBytes === 0 ? 0 : 1 - part(this.#poolUse, roomyUseMin, roomyUseMax);
  }

  get #garbageMin(): number {
    const { garbageMin, roomyGarbageMin } = this.#options;
    return garbageMin + this.#roominess * (roomyGarbageMin - garbageMin);
  }

  get #garbageMax(): number {
    const { garbageMax, roomyGarbageMax } = this.#options;
    return garbageMax + this.#roominess * (roomyGarbageMax - garbageMax);
  }

  #rate(pressure: number): number {
    const { rateMin, rateMax, clientShareMax } = this.#options;
    return rateMin + pressure * (rateMax - rateMin + clientShareMax * this.#clientRate);
  }

  #earn(nowMs: number, pressure: number): void {
    const rate = this.#rate(pressure);
    const elapsedMs = Math.max(0, nowMs - this.#budgetAtMs);
    this.#budgetAtMs = nowMs;
    this.#budget = Math.min(this.#budget + (rate * elapsedMs) / 1000, (rate * savedMsMax) / 1000);
  }

  #consider(candidate: CleanCandidate): void {
    if (!this.isWorth(candidate.livePages)) return;
    const live = candidate.livePages / this.#options.pagesPerBlock;
    const score = ((1 - live) * candidate.age) / (1 + live);
    if (this.#best.length < candidatesMax) {
      this.#best.push({ candidate, score });
      return;
    }
    let worst = 0;
    for (let i = 1; i < this.#best.length; i++) if (this.#best[i].score < this.#best[worst].score) worst = i;
    if (this.#best[worst].score < score) this.#best[worst] = { candidate, score };
  }
}

/** Where `value` lies between `from` (0) and `to` (1). */
function part(value: number, from: number, to: number): number {
  return Math.min(1, Math.max(0, (value - from) / (to - from)));
}
