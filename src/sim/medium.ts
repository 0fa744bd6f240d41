// Medium: the bytes of a file as a simulated drive would show them, and the older ones that a power cut may bring back.

import type { Random } from "#host";
import { pageBytes } from "#model";

const sectorBytes = 512;
const sectorsPerPage = pageBytes / sectorBytes;

/** Pages by number; an absent one is zero. */
type Pages = Map<number, Uint8Array>;

export class Medium {
  sizeBytes = 0;
  readonly pages: Pages = new Map();
  /** Content before the first write since an fdatasync last started: newest first those of fdatasyncs under way. */
  undo: Pages = new Map();
  readonly flushing: Pages[] = [];
  /** Of an fdatasync that failed: never made durable by a later one. */
  readonly doomed: Pages = new Map();

  page(number: number): Uint8Array {
    return this.pages.get(number) ?? zeroPage;
  }

  write(source: Uint8Array, offset: number): void {
    for (let at = 0; at < source.length; at += pageBytes) {
      const number = (offset + at) / pageBytes;
      const before = this.page(number);
      if (!this.undo.has(number)) this.undo.set(number, before);
      this.pages.set(number, source.slice(at, at + pageBytes));
    }
    this.sizeBytes = Math.max(this.sizeBytes, offset + source.length);
  }

  read(target: Uint8Array, offset: number): void {
    for (let at = 0; at < target.length; ) {
      const number = Math.floor((offset + at) / pageBytes);
      const from = (offset + at) % pageBytes;
      const part = this.page(number).subarray(from, from + target.length - at);
      target.set(part, at);
      at += part.length;
    }
  }

  /** Each sector not known to be durable goes back to its older content or stays, layer by layer. */
  cutPower(random: Random): void {
    for (const layer of [this.undo, ...this.flushing.reverse(), this.doomed]) {
      for (const [number, before] of layer) this.#mix(number, before, random);
    }
    this.undo = new Map();
    this.flushing.length = 0;
    this.doomed.clear();
  }

  /** Whoever waited for the fdatasyncs under way is gone; the next one covers what they did, and what a failed one did not. */
  keepPending(): void {
    for (const layer of [...this.flushing.reverse(), this.doomed]) {
      for (const [number, before] of layer) this.undo.set(number, before);
    }
    this.flushing.length = 0;
    this.doomed.clear();
  }

  #mix(number: number, before: Uint8Array, random: Random): void {
    const mixed = this.page(number).slice();
    // Now and then a whole page is kept or lost: batches fail together more often than alone.
    const whole = random.uint32() % 3;
    for (let sector = 0; sector < sectorsPerPage; sector++) {
      const keep = whole === 0 ? true : whole === 1 ? false : random.uint32() % 2 === 0;
      if (keep) continue;
      const from = sector * sectorBytes;
      mixed.set(before.subarray(from, from + sectorBytes), from);
    }
    this.pages.set(number, mixed);
  }
}

const zeroPage = new Uint8Array(pageBytes);
