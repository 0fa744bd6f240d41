// Sets of hashes, of which a large target has millions: by the first half of each, 16 bytes.

export class HashSet {
  readonly #halves = new Set<string>();

  get size(): number {
    return this.#halves.size;
  }

  has(hash: string): boolean {
    return this.#halves.has(half(hash));
  }

  /** Whether it was not there. */
  add(hash: string): boolean {
    const before = this.#halves.size;
    this.#halves.add(half(hash));
    return this.#halves.size > before;
  }
}

/** One byte a character. */
function half(hash: string): string {
  return Buffer.from(hash.slice(0, 32), "hex").toString("latin1");
}
