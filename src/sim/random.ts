// SeededRandom: the same numbers from the same seed, on every machine (sfc32).

import type { Random } from "#host";

export class SeededRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** `stream`: numbers that have nothing to do with those of another stream of the same seed. */
  constructor(seed: number, stream = 0) {
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 2 ** 32) >>> 0;
    this.#c = (0x9e3779b9 ^ stream) | 0;
    for (let i = 0; i < 16; i++) this.uint32();
  }

  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.uint32() & 255);
  }

  uuid(): string {
    const hex = Buffer.from(this.bytes(16)).toString("hex");
    const variant = ((Number.parseInt(hex[16], 16) & 3) | 8).toString(16);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
  }

  /** A whole number from `min` to `max`, both included. */
  between(min: number, max: number): number {
    return min + (this.uint32() % (max - min + 1));
  }

  /** True once in `times` on average. */
  oneIn(times: number): boolean {
    return this.uint32() % times === 0;
  }

  /** One of `items`. */
  pick<Item>(items: readonly Item[]): Item {
    return items[this.uint32() % items.length];
  }
}
