// SpacePaceMachine: how much a writer may take of a pool that is nearly full. A writer that is faster than cleaning and collecting would run
// into "no space" although space is on its way; instead it is slowed down, smoothly, to what comes back.
//
// It takes effect only below a rest of free space, and only while something can come back at all: blocks that are dead and not yet collected, or
// garbage that cleaning can gain. Then the writer has the rate at which space was seen to return, and what is free over some time on top. Both
// fall with what is left, so that it comes to rest above the end as long as anything returns, and at the brink of that rest both are as good as
// unbounded: nobody is stopped short. A small rate is always left: where nothing returns after all, the writer is told the truth in the
// end, that there is no space.
//
// What is free is known from asking peers, and asked again before an eighth of it can have been used: nobody runs far into a full pool
// believing what was true a while ago.

export interface SpacePaceOptions {
  readonly blockBytes: number;
  /** Of what the pool has room for (one copy of everything), the part below which writers are slowed down. */
  readonly slowPart: number;
  /** The same in blocks: whichever is more, but no more than a quarter of the pool. */
  readonly slowBlocks: number;
  /** Below this, or a quarter of the pool, writers run ahead of peers by little. */
  readonly tightBytes: number;
  /** What is free may be used within this time, beside what returns. */
  readonly drainMs: number;
  /** Bytes a second that are always left. */
  readonly rateMin: number;
  /** Peers are asked so often: while writers are slowed down, and when nothing is written that matters. */
  readonly askEveryMs: number;
  readonly askSeldomMs: number;
}

export const spacePaceDefaults: Omit<SpacePaceOptions, "blockBytes"> = {
  slowPart: 0.05,
  slowBlocks: 16,
  tightBytes: 256 * 2 ** 20,
  drainMs: 20_000,
  rateMin: 32 * 1024,
  askEveryMs: 500,
  askSeldomMs: 30_000,
};

/** In bytes of a log: one copy of each, whatever peer they come to lie on. */
export interface FreeSpace {
  /** For new data, before some peer refuses. */
  readonly freeBytes: number;
  /** All there would be in an empty pool. */
  readonly copyBytes: number;
}

/** What was not taken may be taken later, for so long. */
const burstMs = 200;
/** Space comes back in gusts, one a pass of the collectors: its rate is what it was over this time. */
const returnMs = 30_000;
/** Where space comes to rest that is used as fast as it returns: at about this part of what would be enough. */
const restPart = 0.5;
/** Peers are not asked more often than this, whatever happens. */
const askSoonMs = 50;
/** Peers are asked again when this part of what is free may be used. */
const askPart = 1 / 8;

export class SpacePaceMachine {
  readonly #options: SpacePaceOptions;
  #known: FreeSpace | null = null;
  #knownMs: number;
  /** Since when it is known what returns. */
  #beganMs = 0;
  #failedMs = Number.NEGATIVE_INFINITY;
  /** Length of the log: now, and when peers were asked last. */
  #logBytes = 0;
  #knownLogBytes = 0;
  #debtBytes = 0;
  #returnRate = 0;
  #tokens = 0;
  #tokensMs: number;

  constructor(options: SpacePaceOptions, nowMs: number) {
    this.#options = options;
    this.#knownMs = nowMs - options.askSeldomMs;
    this.#tokensMs = nowMs;
  }

  /** Peers said how much is free. */
  /** `logBytes`: what was in the log when they were asked. */
  learned(nowMs: number, space: FreeSpace, logBytes: number): void {
    if (this.#known !== null) {
      const elapsedMs = Math.max(1, nowMs - this.#knownMs);
      const wrote = logBytes - this.#knownLogBytes;
      const returned = Math.max(0, space.freeBytes - this.#known.freeBytes + wrote);
      // In the beginning it is what it was so far.
      const weight = Math.min(1, elapsedMs / Math.min(returnMs, nowMs - this.#beganMs + 1));
      this.#returnRate += weight * ((returned * 1000) / elapsedMs - this.#returnRate);
    } else this.#beganMs = nowMs;
    this.#known = space;
    this.#knownMs = nowMs;
    this.#knownLogBytes = logBytes;
  }

  /** No peer said anything. */
  failed(nowMs: number): void {
    this.#failedMs = nowMs;
  }

  /** What may come back: dead and not collected, or garbage worth cleaning. */
  debtIs(bytes: number): void {
    this.#debtBytes = bytes;
  }

  /** So much is in the log, of whatever kind: what clients wrote, what was cleaned, and headers. */
  logIs(bytes: number): void {
    this.#logBytes = bytes;
  }

  /** Clients wrote so much. */
  took(bytes: number): void {
    this.#tokens -= bytes;
  }

  /** It is time to ask peers. */
  wantsToKnow(nowMs: number): boolean {
    const { askEveryMs, askSeldomMs } = this.#options;
    if (nowMs - this.#failedMs < askEveryMs) return false;
    const age = nowMs - this.#knownMs;
    if (age >= askSeldomMs || this.#known === null) return age >= askEveryMs;
    return age >= askEveryMs ? this.#short > 0 || this.#hasUsedMuch : this.#hasUsedMuch && age >= askSoonMs;
  }

  /** What is free, less what was written since; null while nobody has said. */
  get freeBytes(): number | null {
    return this.#known === null ? null : Math.max(0, this.#known.freeBytes - this.#wroteBytes);
  }

  /** How full the pool is for new data, 0 to 1; 0 while nobody has said. */
  get use(): number {
    const { freeBytes } = this;
    if (this.#known === null || freeBytes === null || this.#known.copyBytes <= 0) return 0;
    return 1 - Math.min(1, freeBytes / this.#known.copyBytes);
  }

  /** What an empty pool has room for; 0 while nobody has said. */
  get copyBytes(): number {
    return this.#known?.copyBytes ?? 0;
  }

  /** Running far ahead of what peers have taken could end where nothing is left. */
  get isTight(): boolean {
    if (this.#known === null || this.freeBytes === null) return false;
    return this.freeBytes < Math.min(this.#known.copyBytes / 4, this.#options.tightBytes);
  }

  /** Writers are slowed down. */
  get isSlow(): boolean {
    return this.#short > 0 && this.#debtBytes > 0;
  }

  /** Bytes that may be appended now: infinite unless writers are slowed down. */
  allowance(nowMs: number): number {
    const elapsedMs = Math.max(0, nowMs - this.#tokensMs);
    this.#tokensMs = nowMs;
    if (!this.isSlow) {
      this.#tokens = 0;
      return Number.POSITIVE_INFINITY;
    }
    const { rate } = this;
    this.#tokens = Math.min(this.#tokens + (rate * elapsedMs) / 1000, (rate * burstMs) / 1000);
    return Math.max(0, this.#tokens);
  }

  /** Bytes a second, when writers are slowed down. */
  get rate(): number {
    const { drainMs, rateMin } = this.#options;
    const short = this.#short;
    if (short === 0) return Number.POSITIVE_INFINITY;
    const left = 1 - short;
    const returning = this.#returnRate * Math.min(1, left / restPart);
    const draining = ((this.freeBytes ?? 0) * 1000) / drainMs;
    return Math.max(rateMin, (returning + draining) / short);
  }

  get #wroteBytes(): number {
    return this.#logBytes - this.#knownLogBytes;
  }

  get #hasUsedMuch(): boolean {
    return this.#known !== null && this.#wroteBytes >= this.#known.freeBytes * askPart;
  }

  /** How short space is: 0 where nobody is slowed down, 1 where nothing is left. */
  get #short(): number {
    if (this.#known === null || this.freeBytes === null) return 0;
    const { slowPart, slowBlocks, blockBytes } = this.#options;
    const { copyBytes } = this.#known;
    const enoughBytes = Math.min(copyBytes / 4, Math.max(copyBytes * slowPart, slowBlocks * blockBytes));
    return Math.max(0, 1 - this.freeBytes / enoughBytes);
  }
}
