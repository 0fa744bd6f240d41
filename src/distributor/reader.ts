// Reader: bytes of blocks from whichever replica has them right. Every page is checked against the checksum its
// reader expects; a replica that gives a wrong page, or lacks it, is passed over, counted and reported for repair.
//
// Invariants: nothing unverified is returned. "Gone" (an error) needs a no from every peer that could have it, twice in a row by the newest
// ring: a block on its way from one peer to another may be missed at both by one who asks the new one too early and the old
// one too late. A peer that is silent stalls the read, which is tried again until `close`.

import type { Clock, Counter, Log, Metrics, ReusedMemory } from "#host";
import { sleep } from "#host";
import type { BlockRef, BlockStore, NearReads, PeerId, TakeMemory } from "#model";
import { blockRefKey, crc32, isTorusError, messageOf, pageBytes, pagesMatch, TorusError } from "#model";

import type { ReadCache } from "./read-cache.ts";

export interface ReaderDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  /** Every peer that may hold `ref`, the likeliest first, without repeats. */
  readonly candidatesOf: (ref: BlockRef) => readonly PeerId[];
  /** Brings `candidatesOf` up to date, and resolves with the version of the ring in force; rejects when nobody can say. */
  readonly refresh: () => Promise<number>;
  /** How many of the candidates, from the first, have a copy when all is well: reads are spread over them. */
  readonly replicas: () => number;
  /** A peer gave wrong bytes for `ref`, or should have them and has not. */
  readonly onBadCopy: (ref: BlockRef, peer: PeerId) => void;
  /**
   * Asked when nobody has what is read: rejects with the reason if the reader's time is over, as that of a writer which was replaced
   * and whose blocks are collected.
   */
  readonly requireCurrent?: () => Promise<void>;
  /** What was read of peers on other machines; without it nothing is kept. */
  readonly cache?: ReadCache;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface ReaderOptions {
  /** Ask another replica when one has not answered for this long. */
  readonly hedgeAfterMs: number;
  readonly retryEveryMs: number;
}

export const readerDefaults: ReaderOptions = { hedgeAfterMs: 100, retryEveryMs: 200 };

/** How long a peer that failed a read, or was slow to answer one, is asked last. */
const avoidMs = 2000;

/** Stores on one machine, and the cache. */
const sourcesMax = 64;
/** Reads of more are of those who read much once. */
const keptPagesMax = 32;

/** `near`: they come from this machine, for all that is known. */
export type Verify = (bytes: Uint8Array, near: boolean) => boolean;

export class Reader {
  readonly #options: ReaderOptions;
  readonly #deps: ReaderDeps;
  readonly #avoidUntil = new Map<PeerId, number>();
  /** What is read without waiting: the files of stores on this machine that answered before, and the cache. */
  #sources: readonly NearReads[];
  readonly #reads: Counter;
  readonly #badPages: Counter;
  readonly #hedges: Counter;
  #closed = false;

  constructor(options: ReaderOptions, deps: ReaderDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#sources = deps.cache === undefined ? [] : [deps.cache];
    this.#reads = deps.metrics.counter("torus_distributor_reads_total", "Ranged reads asked of peers");
    this.#badPages = deps.metrics.counter(
      "torus_distributor_bad_copies_total",
      "Reads a peer answered with wrong or missing bytes",
    );
    this.#hedges = deps.metrics.counter(
      "torus_distributor_hedged_reads_total",
      "Reads also asked of a second peer",
    );
  }

  /**
   * `count` pages of `ref` from `offset` on, each matching its checksum: the first that at `first` of `checksums`. In what `take` gives, a new
   * one for each peer that is asked: one that is late writes into its own.
   */
  readPages(
    ref: BlockRef,
    offset: number,
    count: number,
    checksums: Uint32Array,
    first: number,
    take?: TakeMemory,
  ): Promise<Uint8Array> {
    // They may change before the bytes are here.
    const expected = checksums.slice(first, first + count);
    const { cache } = this.#deps;
    return this.read(
      ref,
      offset,
      count * pageBytes,
      (bytes, near) => {
        if (!pagesMatch(bytes, expected, 0)) return false;
        if (!near && count <= keptPagesMax) cache?.add(ref, offset, bytes);
        return true;
      },
      take,
    );
  }

  /** What a cache may keep, 0 without one. */
  get cacheBytesMax(): number {
    return this.#deps.cache?.bytesMax ?? 0;
  }

  /** They can be read without waiting, as far as anybody knows. */
  hasPages(ref: BlockRef, offset: number, count: number): boolean {
    return this.#sources.some((source) => source.has(ref, offset, count * pageBytes));
  }

  /**
   * Reads `length` bytes from `offset` on, in what `memory` has, and keeps those pages of them that `offsets` names, each matching its
   * checksum, in the cache, unless they come from this machine. Rejects as `readPages`.
   */
  async fetchPages(
    ref: BlockRef,
    offset: number,
    length: number,
    offsets: readonly number[],
    checksums: readonly number[],
    memory: ReusedMemory,
  ): Promise<void> {
    const { cache } = this.#deps;
    const pageOf = (bytes: Uint8Array, at: number): Uint8Array =>
      bytes.subarray(at - offset, at - offset + pageBytes);
    const verify: Verify = (bytes, near) => {
      if (!offsets.every((at, i) => crc32(pageOf(bytes, at)) === checksums[i])) return false;
      if (!near) for (const at of offsets) cache?.add(ref, at, pageOf(bytes, at));
      return true;
    };
    memory.give(await this.read(ref, offset, length, verify, (bytes) => memory.take(bytes)));
  }

  /** The same, in what `take` gives, without waiting; null where that cannot be. */
  readPagesNow(
    ref: BlockRef,
    offset: number,
    count: number,
    checksums: Uint32Array,
    first: number,
    take: TakeMemory,
  ): Uint8Array | null {
    for (const source of this.#sources) {
      const bytes = source.readNow(ref, offset, count * pageBytes, take);
      if (bytes === null) continue;
      if (pagesMatch(bytes, checksums, first)) return bytes;
      // Whoever asks the peer itself is told what is wrong.
      source.distrust(ref);
    }
    return null;
  }

  /** Bytes of `ref` that satisfy `verify`. Rejects with `corrupt` when every candidate answered and none has them. */
  async read(
    ref: BlockRef,
    offset: number,
    length: number,
    verify: Verify,
    take?: TakeMemory,
  ): Promise<Uint8Array> {
    let deniedBy: number | null = null;
    for (;;) {
      const outcome = await this.#round(ref, offset, length, verify, take);
      if (outcome instanceof Uint8Array) return outcome;
      if (this.#closed) throw new TorusError("closed", "the volume was closed during a read");
      const version = outcome.silent === 0 ? await this.#refreshed() : null;
      if (version !== null && version === deniedBy) {
        await this.#deps.requireCurrent?.();
        throw new TorusError(
          "corrupt",
          `no peer has bytes ${offset} to ${offset + length} of block ${blockRefKey(ref)} right: ${outcome.reason}`,
        );
      }
      deniedBy = version;
      await sleep(this.#deps.clock, this.#options.retryEveryMs);
    }
  }

  /** The ring in force; null while that cannot be told. */
  async #refreshed(): Promise<number | null> {
    try {
      return await this.#deps.refresh();
    } catch (error) {
      this.#deps.log.debug("the ring cannot be read", { reason: messageOf(error) });
      return null;
    }
  }

  close(): void {
    this.#closed = true;
  }

  /** Asks the candidates, one after another or a second one when the first is slow, until one is right. */
  #round(
    ref: BlockRef,
    offset: number,
    length: number,
    verify: Verify,
    take: TakeMemory | undefined,
  ): Promise<Uint8Array | { silent: number; reason: string }> {
    const candidates = this.#order(ref, this.#deps.candidatesOf(ref));
    return new Promise((resolve) => {
      let next = 0;
      let pending = 0;
      let silent = 0;
      let reason = "no peer is in the ring";
      let settled = false;
      const askNext = (): void => {
        if (settled) return;
        if (next === candidates.length) {
          if (pending === 0) {
            settled = true;
            resolve({ silent, reason });
          }
          return;
        }
        const peer = candidates[next];
        next += 1;
        pending += 1;
        const hedge =
          next < candidates.length
            ? this.#deps.clock.setTimer(this.#options.hedgeAfterMs, () => {
                this.#hedges.add(1);
                // It may hang: reads to come go elsewhere first, and only this one waited for it.
                this.#avoid(peer);
                askNext();
              })
            : null;
        this.#ask(peer, ref, offset, length, verify, take).then((answer) => {
          hedge?.cancel();
          pending -= 1;
          if (settled) return;
          if (answer instanceof Uint8Array) {
            settled = true;
            resolve(answer);
            return;
          }
          if (answer.silent) silent += 1;
          reason = answer.reason;
          askNext();
        });
      };
      askNext();
    });
  }

  /** One peer's answer: verified bytes, or why not and whether that was silence. Never rejects. */
  async #ask(
    peer: PeerId,
    ref: BlockRef,
    offset: number,
    length: number,
    verify: Verify,
    take: TakeMemory | undefined,
  ): Promise<Uint8Array | { silent: boolean; reason: string }> {
    this.#reads.add(1);
    try {
      const store = this.#deps.storeOf(peer);
      const bytes = await store.read(ref, offset, length, take);
      if (bytes.length === length && verify(bytes, store.near !== undefined)) {
        this.#noteNear(store);
        return bytes;
      }
      this.#badPages.add(1);
      this.#deps.log.warn("a copy of a block is damaged; reading another", {
        peer,
        block: blockRefKey(ref),
        offset,
      });
      this.#deps.onBadCopy(ref, peer);
      return { silent: false, reason: `peer ${peer} has damaged bytes` };
    } catch (error) {
      if (isTorusError(error, "not-found"))
        return { silent: false, reason: `peer ${peer} does not have them` };
      if (isTorusError(error, "io")) {
        this.#badPages.add(1);
        this.#deps.onBadCopy(ref, peer);
      }
      this.#avoid(peer);
      return { silent: true, reason: `peer ${peer}: ${messageOf(error)}` };
    }
  }

  #noteNear({ near }: BlockStore): void {
    if (near === undefined || near === null || this.#sources.includes(near)) return;
    this.#sources = [near, ...this.#sources.slice(0, sourcesMax)];
  }

  #avoid(peer: PeerId): void {
    this.#avoidUntil.set(peer, this.#deps.clock.monotonicMs() + avoidMs);
  }

  /** Of the first `head` candidates that at `turn`, unless it is on another machine, and one that is near comes after it. */
  #firstOf(candidates: readonly PeerId[], head: number, turn: number): number {
    if (this.#deps.storeOf(candidates[turn]).near !== undefined) return turn;
    for (let i = 1; i < head; i++) {
      const at = (turn + i) % head;
      if (this.#deps.storeOf(candidates[at]).near) return at;
    }
    return turn;
  }

  /**
   * Candidates as given, but those that have a copy share the blocks, peers on this machine before others, and peers that just failed or
   * were slow go last. A block is always read from the same one, in whose memory it then is: with turns, each piece would be in the
   * memory of all of them.
   */
  #order({ index }: BlockRef, candidates: readonly PeerId[]): readonly PeerId[] {
    const head = Math.min(candidates.length, this.#deps.replicas());
    const first = head > 1 ? this.#firstOf(candidates, head, index % head) : 0;
    const rotated =
      first === 0
        ? candidates
        : [candidates[first], ...candidates.slice(0, first), ...candidates.slice(first + 1)];
    if (this.#avoidUntil.size === 0) return rotated;
    const now = this.#deps.clock.monotonicMs();
    for (const [peer, until] of this.#avoidUntil) if (until <= now) this.#avoidUntil.delete(peer);
    return [
      ...rotated.filter((peer) => !this.#avoidUntil.has(peer)),
      ...rotated.filter((peer) => this.#avoidUntil.has(peer)),
    ];
  }
}
