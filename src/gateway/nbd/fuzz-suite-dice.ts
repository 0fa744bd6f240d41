// Random numbers from a seed, for tests with random clients. TORUS_FUZZ_STEPS sets the number of steps (requests,
// options), TORUS_FUZZ_SEED the seed; both stand in the name of the test, so that a failure can be had again.

export const steps = Number(process.env["TORUS_FUZZ_STEPS"] ?? 100_000);
export const seed = Number(process.env["TORUS_FUZZ_SEED"] ?? 20_240_607);
export const label = `seed ${seed}, ${steps} steps`;

export class Dice {
  #state: number;

  constructor(start: number) {
    this.#state = start >>> 0 || 1;
  }

  /** 0 .. below-1 */
  below(below: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    this.#state >>>= 0;
    return this.#state % below;
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.alloc(count);
    for (let at = 0; at < count; at += 1) bytes[at] = this.below(256);
    return bytes;
  }
}

/** Changes a few bytes, and now and then cuts the end off. */
export function mutate(dice: Dice, bytes: Buffer): Buffer {
  for (let count = 1 + dice.below(4); count > 0 && bytes.length > 0; count -= 1) {
    bytes[dice.below(bytes.length)] = dice.below(256);
  }
  return bytes.subarray(0, dice.oneIn(3) ? dice.below(bytes.length + 1) : bytes.length);
}
