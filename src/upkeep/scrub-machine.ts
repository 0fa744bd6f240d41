// ScrubMachine: how far a peer should be with looking at its own blocks. A round looks at all of them, in order, within the period:
// at each moment as large a share of the bytes should be done as of the time. What was added behind the round's place
// is looked at by the next, so no block waits longer than about a period.
//
// Time while the peer does not run does not count, and a round goes on where it was. A round that was asked for runs at
// once, from the start to the end; asked for again by the same name, after a restart, it too goes on where it was.

import type { BlockRef } from "#model";
import type { ScrubPlace } from "./scrub-codec.ts";

export interface ScrubMachineOptions {
  readonly periodMs: number;
}

/** A round is planned to end a little early. */
const plannedShare = 0.9;

export class ScrubMachine {
  readonly #periodMs: number;
  #after: BlockRef | null;
  /** When the round would have begun, had the peer run since. */
  #beganMs: number;
  #doneBytes = 0;
  #totalBytes = 0;
  /** Of a round that was resumed: what its earlier life had done. */
  #resumed: number;
  #isHurried = false;
  #asked: string | null;

  constructor(options: ScrubMachineOptions, place: ScrubPlace | null, nowMs: number) {
    this.#periodMs = options.periodMs;
    this.#after = place?.after ?? null;
    this.#resumed = place?.done ?? 0;
    this.#asked = place?.asked ?? null;
    this.#beganMs = nowMs - this.#resumed * this.#periodMs * plannedShare;
  }

  get place(): ScrubPlace {
    return { after: this.#after, done: this.#done, asked: this.#asked };
  }

  /** Bytes of sealed blocks there are from the place on: what is left of the round. */
  measured(bytes: number): void {
    this.#resumed = this.#done;
    this.#totalBytes = bytes;
    this.#doneBytes = 0;
  }

  /** The round that `asked` names, at once and without pauses: a new one, unless it is the one under way. */
  hurry(asked: string): void {
    this.#isHurried = true;
    if (this.#asked === asked) return;
    this.#asked = asked;
    this.#restart(0);
  }

  /** Whether the next block, of `bytes`, should have been looked at by now. */
  isDue(nowMs: number, bytes: number): boolean {
    if (this.#isHurried) return true;
    return this.#doneWith(bytes) <= (nowMs - this.#beganMs) / (this.#periodMs * plannedShare);
  }

  /** `ref` was looked at, or needed not be. */
  passed(ref: BlockRef, bytes: number): void {
    this.#after = ref;
    this.#doneBytes += bytes;
  }

  /** No block is left. */
  finished(nowMs: number): void {
    this.#isHurried = false;
    this.#asked = null;
    this.#restart(nowMs);
  }

  get #done(): number {
    return this.#doneWith(0);
  }

  #doneWith(bytes: number): number {
    const part = this.#totalBytes === 0 ? 0 : Math.min(1, (this.#doneBytes + bytes) / this.#totalBytes);
    return this.#resumed + (1 - this.#resumed) * part;
  }

  #restart(nowMs: number): void {
    this.#after = null;
    this.#resumed = 0;
    this.#doneBytes = 0;
    this.#totalBytes = 0;
    this.#beganMs = nowMs;
  }
}
