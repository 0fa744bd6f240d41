// How long the system tests run: TORUS_TEST_SCALE=10 makes those with rounds ten times as long.

const text = process.env["TORUS_TEST_SCALE"] ?? "1";

export const scale = Number(text);
if (!(scale > 0 && scale <= 1000)) throw new Error(`TORUS_TEST_SCALE "${text}" is not a number up to 1000`);

/** A seeded source of whole numbers below `n`: (n) => number. */
export function dice(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

/** The seed of this run: TORUS_TEST_SEED, or a fresh one. Tests name it when they fail. */
export const seed = Number(process.env["TORUS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
