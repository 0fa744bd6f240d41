// What happens in a chaos run, and when: from the seed alone. Rounds of faults, in some of them several at the same time; after each
// round all is undone.

import { dice } from "../system/scale.ts";
import { faultKinds } from "./faults.ts";

export interface PlannedFault {
  readonly kind: string;
  /** From the start of its round. */
  readonly atMs: number;
  readonly lastsMs: number;
  /** Of the dice that choose whom it hits. */
  readonly seed: number;
}

export interface PlannedRound {
  readonly faults: readonly PlannedFault[];
}

const roundMs = 14_000;
const restMsMax = 2500;
const atOnceMax = 3;

/** Round after round of these kinds, for ever. */
export function* planRounds(seed: number, kinds: readonly string[]): Generator<PlannedRound, never> {
  const roll = dice(seed);
  // Every kind comes before any comes twice.
  let left: string[] = [];
  for (;;) {
    const faults: PlannedFault[] = [];
    const atOnce = 1 + roll(atOnceMax);
    for (let atMs = roll(restMsMax); atMs < roundMs; atMs += 100 + roll(restMsMax)) {
      if (faults.filter((fault) => fault.atMs + fault.lastsMs > atMs).length >= atOnce) continue;
      if (left.length === 0) left = [...kinds];
      const [kind] = left.splice(roll(left.length), 1);
      const [min, max] = faultKinds[kind].lastsMs;
      // Mostly short ones, so that more of them fit.
      const lastsMs = min + roll(roll(3) === 0 ? max - min : (max - min) / 4);
      faults.push({ kind, atMs, lastsMs, seed: roll(2 ** 31) });
    }
    yield { faults };
  }
}
