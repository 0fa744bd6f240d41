// Slabs: memory for small pieces on their way out. What one turn writes is copied here one after the other, so that it leaves as one
// piece; a slab is used again once the system has taken all of it, by whatever connection of the thread wants one.

const slabBytes = 64 * 1024;
const spareSlabsMax = 16;
/** Up to this a piece is copied, rather than being one more in a write. */
export const copiedBytesMax = 16 * 1024;

const spares: Uint8Array[] = [];

export class Slabs {
  #pieces: Uint8Array[] = [];
  /** Those that pieces point into; the last is being filled. */
  #slabs: Uint8Array[] = [];
  #start = 0;
  #end = 0;

  /** At most `copiedBytesMax` bytes. */
  copy(bytes: Uint8Array): void {
    if (this.#slabs.length === 0 || this.#end + bytes.length > slabBytes) {
      this.#cut();
      this.#slabs.push(spares.pop() ?? new Uint8Array(slabBytes));
      this.#start = 0;
      this.#end = 0;
    }
    this.#slabs[this.#slabs.length - 1].set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** As it is. */
  add(bytes: Uint8Array): void {
    this.#cut();
    this.#pieces.push(bytes);
  }

  /** What was gathered, and the slabs in which it lies: to be given back when it has left. */
  take(): { readonly pieces: readonly Uint8Array[]; readonly slabs: readonly Uint8Array[] } {
    this.#cut();
    const taken = { pieces: this.#pieces, slabs: this.#slabs };
    this.#pieces = [];
    this.#slabs = [];
    this.#start = 0;
    this.#end = 0;
    return taken;
  }

  /** Makes what was copied since the last cut a piece of its own. */
  #cut(): void {
    if (this.#end === this.#start) return;
    this.#pieces.push(this.#slabs[this.#slabs.length - 1].subarray(this.#start, this.#end));
    this.#start = this.#end;
  }
}

export function giveSlabs(slabs: readonly Uint8Array[]): void {
  for (const slab of slabs) if (spares.length < spareSlabsMax) spares.push(slab);
}
