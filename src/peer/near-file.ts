// NearFile: the file of a store on this machine, read by its reader itself: what lies in the page cache costs two system calls, and nobody
// is woken for it. Where a block lies the peer says; what it did not read for us yet is left to it, for it may have to come from the disk.
//
// Invariant: what is handed on was read from a slot that still held the block afterwards. The slot's entry, read again after the bytes, is as
// the peer told it: it names store, slot and block, and is written anew, durably, before a slot is used again. A block's bytes never change
// in their slot. The reader verifies them all the same, as all it reads.

import type { Clock, Counter, ForeignFile, OpenForeignFile } from "#host";
import type { BlockLocation, BlockRef, NearReads, TakeMemory } from "#model";
import { blockBytesMax, isTorusError, locationEntryBytes, RefMap } from "#model";

export interface NearFileDeps {
  /** This machine, since it was started; as the peers of it name it. */
  readonly bootId: string;
  readonly openFile: OpenForeignFile;
  readonly locate: (ref: BlockRef) => Promise<BlockLocation>;
  readonly clock: Clock;
  readonly reads: Counter;
}

/** What a peer has in memory once it has read any of it. */
const partBytes = 64 * 1024;
/** More at once would keep all others of this thread waiting. */
const readBytesMax = 1024 * 1024;
/** Blocks whose place is remembered. */
const placesMax = 16_384;
/** Questions under way. */
const asksMax = 16;
/** A read that takes longer came from the disk. So many, with few others between them, and the peer is asked again for a while. */
const slowMs = 1;
const slowReadsMax = 8;
const slowReadShare = 1 / 16;
const pauseMs = 1000;

interface Place {
  /** Null until the peer said it. */
  spot: BlockLocation | null;
  isAsked: boolean;
  /** Parts the peer read for us, a bit each. */
  readonly warm: Uint32Array;
}

export class NearFile implements NearReads {
  readonly #deps: NearFileDeps;
  readonly #places = new RefMap<Place>();
  readonly #entry = new Uint8Array(locationEntryBytes);
  #file: ForeignFile | null = null;
  #isFar = false;
  /** Raised when all is forgotten: answers of before are not taken. */
  #round = 0;
  #asks = 0;
  #slowReads = 0;
  #pausedUntilMs = 0;

  constructor(deps: NearFileDeps) {
    this.#deps = deps;
  }

  /** The file is open: reads are best made at this peer. */
  get isOpen(): boolean {
    return this.#file !== null;
  }

  /** The peer is on another machine, or its file is not ours to read. */
  get isFar(): boolean {
    return this.#isFar;
  }

  readNow(ref: BlockRef, offset: number, length: number, take: TakeMemory): Uint8Array | null {
    const place = this.#places.get(ref);
    if (this.#file === null || !isWithin(place, offset, length) || length > readBytesMax) return null;
    const { clock, reads } = this.#deps;
    const startMs = clock.monotonicMs();
    if (startMs < this.#pausedUntilMs) return null;
    const { spot } = place;
    const target = take(length);
    try {
      this.#file.readSync(target, spot.offset + offset);
      this.#file.readSync(this.#entry, spot.entryOffset);
    } catch (error) {
      if (!isTorusError(error)) throw error;
      this.forget();
      return null;
    }
    this.#noteTime(startMs, clock.monotonicMs());
    if (Buffer.compare(this.#entry, spot.entry) !== 0) {
      this.#places.delete(ref);
      return null;
    }
    reads.add(1);
    return target;
  }

  has(ref: BlockRef, offset: number, length: number): boolean {
    return this.#file !== null && isWithin(this.#places.get(ref), offset, length);
  }

  distrust(ref: BlockRef): void {
    this.#places.delete(ref);
  }

  /** The peer has read this for us. */
  learn(ref: BlockRef, offset: number, length: number): void {
    if (this.#isFar) return;
    let place = this.#places.get(ref);
    if (place === undefined) {
      if (this.#places.size >= placesMax) this.#places.clear();
      place = { spot: null, isAsked: false, warm: new Uint32Array(blockBytesMax / partBytes / 32) };
      this.#places.set(ref, place);
    }
    const last = Math.floor((offset + length - 1) / partBytes);
    for (let part = Math.floor(offset / partBytes); part <= last; part++)
      place.warm[part >>> 5] |= 1 << (part % 32);
    const isKnown = place.spot !== null && offset + length <= place.spot.length;
    if (!isKnown && !place.isAsked && this.#asks < asksMax) void this.#ask(ref, place);
  }

  /** The link to the peer ended, and with it what it said. */
  forget(): void {
    this.#file?.close();
    this.#file = null;
    this.#isFar = false;
    this.#round += 1;
    this.#places.clear();
  }

  async #ask(ref: BlockRef, place: Place): Promise<void> {
    const round = this.#round;
    this.#asks += 1;
    place.isAsked = true;
    try {
      const location = await this.#deps.locate(ref);
      if (round === this.#round && this.#isHere(location)) place.spot = location;
    } catch (error) {
      if (!isTorusError(error)) throw error;
      if (error.code === "unsupported" && round === this.#round) this.#isFar = true;
    } finally {
      place.isAsked = false;
      this.#asks -= 1;
    }
  }

  #isHere({ bootId, path }: BlockLocation): boolean {
    if (this.#isFar) return false;
    if (this.#file === null && bootId === this.#deps.bootId) this.#file = this.#deps.openFile(path);
    this.#isFar = this.#file === null;
    if (this.#isFar) this.#places.clear();
    return !this.#isFar;
  }

  #noteTime(startMs: number, endMs: number): void {
    if (endMs - startMs < slowMs) {
      this.#slowReads = Math.max(0, this.#slowReads - slowReadShare);
      return;
    }
    this.#slowReads += 1;
    if (this.#slowReads < slowReadsMax) return;
    this.#slowReads = 0;
    this.#pausedUntilMs = endMs + pauseMs;
    for (const { warm } of this.#places.values()) warm.fill(0);
  }
}

type KnownPlace = Place & { readonly spot: BlockLocation };

/** All of it is where the peer said, and likely in memory. */
function isWithin(place: Place | undefined, offset: number, length: number): place is KnownPlace {
  if (place === undefined || place.spot === null || offset + length > place.spot.length) return false;
  const last = Math.floor((offset + length - 1) / partBytes);
  for (let part = Math.floor(offset / partBytes); part <= last; part++) {
    if ((place.warm[part >>> 5] & (1 << (part % 32))) === 0) return false;
  }
  return true;
}
