// Canaries of metadata that went back (C7).

import { adoptedForgotten, raisesNothing, TakesAny } from "./broken-metadata.ts";
import type { Canary } from "./canaries.ts";
import type { FaultEvent, Plan } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

/** Writers that keep their volume, write all the time and make checkpoints often, so that a backup is soon behind. */
const plan: Partial<Plan> = {
  peers: 4,
  replicas: 3,
  clients: 2,
  volumes: [{ name: "v1", pages: 16, acknowledge: "replicated" }],
  durationMs: 45_000,
  leaseTtlMs: 1500,
  workload: { depth: 2, thinkMsMax: 40, pagesMax: 3, flushOneIn: 6, sessionMsMax: 20_000 },
};

/** Again and again: a backup is made, a peer is struck and comes back, writers change, and the backup is put back. */
function backAgain(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 2000; atMs < 40_000; atMs += 14_000) {
    const back = { inOrder: true, elsewhere: false, newest: false } as const;
    events.push({ atMs, kind: "metadata-back", afterMs: random.between(4000, 8000), forMs: 2000, ...back });
    const who = random.pick(["p1", "p2", "p3", "p4"]);
    events.push({ atMs: atMs + 500, kind: "crash", who, power: false, forMs: 2500 });
    if (random.oneIn(2))
      for (const client of ["c1", "c2"])
        events.push({ atMs: atMs + 3500, kind: "crash", who: client, power: true, forMs: 50 });
  }
  return events.sort((a, b) => a.atMs - b.atMs);
}

export const metadataCanaries: readonly Canary[] = [
  {
    name: "behind-is-taken",
    seed: 8,
    of: "C7",
    how: "peers take whatever metadata there is: one that went back is not noticed, nor adopted",
    kinds: ["peer-kill", "client-power", "metadata-back"],
    plan,
    events: backAgain,
    breakage: { peer: { observed: (store) => new TakesAny(store) }, onlyIfNoticed: true },
  },
  {
    name: "adoption-raises-nothing",
    seed: 2,
    of: "C7",
    how: "metadata is adopted without raising the epochs of its volumes above what peers have seen",
    kinds: ["peer-kill", "client-power", "metadata-back"],
    plan,
    events: backAgain,
    breakage: { adoption: raisesNothing },
  },
  {
    name: "adopted-is-forgotten",
    seed: 1,
    of: "C7",
    how: "the first attach after an adoption trusts head and logmap of the backup, as any other",
    kinds: ["peer-kill", "client-power", "metadata-back"],
    plan,
    events: backAgain,
    breakage: { client: { metadata: (service) => adoptedForgotten(service) } },
  },
];
