// ContentPieces: what of a device has content, from its beginning to its end, in pieces of bounded size. Holes are passed over.

import type { BlockDevice, Extent } from "#volume";

export interface Piece {
  readonly offset: number;
  readonly length: number;
}

/** Extents asked for at once. */
const extentsMax = 1024;

export class ContentPieces {
  readonly #device: Pick<BlockDevice, "info" | "extents">;
  readonly #pieceBytes: number;
  #extents: readonly Extent[] = [];
  #nextExtent = 0;
  /** Where the next piece begins at the earliest, and where the extent it is looked for in ends. */
  #offset = 0;
  #end = 0;

  /** Pieces end at multiples of `pieceBytes`. */
  constructor(device: Pick<BlockDevice, "info" | "extents">, pieceBytes: number) {
    this.#device = device;
    this.#pieceBytes = pieceBytes;
  }

  /** Null at the end. One call at a time. */
  async next(): Promise<Piece | null> {
    while (this.#offset === this.#end) {
      if (this.#nextExtent === this.#extents.length && !(await this.#more())) return null;
      const extent = this.#extents[this.#nextExtent];
      this.#nextExtent += 1;
      this.#end += extent.length;
      if (!extent.marked) this.#offset = this.#end;
    }
    const offset = this.#offset;
    const stop = (Math.floor(offset / this.#pieceBytes) + 1) * this.#pieceBytes;
    this.#offset = Math.min(stop, this.#end);
    return { offset, length: this.#offset - offset };
  }

  async #more(): Promise<boolean> {
    const { sizeBytes } = this.#device.info;
    if (this.#end >= sizeBytes) return false;
    this.#extents = await this.#device.extents(this.#end, sizeBytes - this.#end, extentsMax);
    this.#nextExtent = 0;
    return true;
  }
}
