// Canaries of scrubbing: rot that nobody sees, and a repair that makes it the truth.

import { BlindStore, ResealingStore } from "./broken-scrub.ts";
import type { Canary } from "./canaries.ts";

export const scrubCanaries: readonly Canary[] = [
  {
    name: "scrub-sees-nothing",
    seed: 1,
    of: "C13",
    how: "a scrubber takes what the store once sealed for whole, and does not read the disk",
    kinds: ["upkeep", "rot"],
    breakage: {
      peer: { upkeep: { deps: (deps) => ({ ...deps, store: new BlindStore(deps.store) }) } },
    },
  },
  {
    name: "rot-is-sealed",
    seed: 2,
    of: "C4",
    how: "a damaged copy is repaired by giving it the checksum of what is there",
    kinds: ["upkeep", "rot"],
    breakage: {
      peer: { upkeep: { deps: (deps) => ({ ...deps, store: new ResealingStore(deps.store) }) } },
    },
  },
];
