// Canaries of cleaning and of detached tails.

import { cleanerOverwrites } from "./broken-cleaner.ts";
import type { Canary } from "./canaries.ts";
import type { FaultEvent } from "./plan.ts";

const volumes = [{ name: "v1", pages: 16, acknowledge: "replicated" }] as const;
const durationMs = 10_000;

/** Shortly before calm every client dies, and none comes back. */
function allDie(): FaultEvent[] {
  return ["c1", "c2"].map((who) => ({
    atMs: durationMs - 1000,
    kind: "crash",
    who,
    power: false,
    forMs: 60_000,
  }));
}

export const cleanerCanaries: readonly Canary[] = [
  {
    name: "cleaner-overwrites",
    seed: 1,
    of: "C17",
    how: "a page that was read to be moved is appended again though the map points elsewhere by now",
    kinds: ["client-kill"],
    plan: { volumes, durationMs, cleaning: true },
    breakage: { client: { volume: (volume, client) => cleanerOverwrites(volume, client.clock) } },
  },
  {
    name: "tails-left",
    seed: 2,
    of: "C20",
    how: "nobody recovers the tail of a volume whose writer died",
    kinds: ["client-kill"],
    plan: { volumes, durationMs, clients: 2, tailsAfterMs: 4000 },
    events: allDie,
    breakage: { tailsLeft: true },
  },
];
