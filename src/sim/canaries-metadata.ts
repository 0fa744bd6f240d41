// Canaries of metadata that went back (C7).

import {
  adoptedForgotten,
  RevisionsForgotten,
  raisesNothing,
  ServedForgotten,
  TakesAny,
  TellsNothing,
} from "./broken-metadata.ts";
import type { Canary } from "./canaries.ts";
import { backAfterMs } from "./metadata-loss.ts";
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

/**
 * Again and again: somebody attaches by force, a backup is made meanwhile, and put back later, under the eyes of everybody. At once the next one
 * attaches by force.
 */
function backToAnAttach(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 3000; atMs < 50_000; atMs += 20_000) {
    const backedUpMs = atMs + random.between(40, 300);
    const afterMs = random.between(500, 1500);
    const putBackMs = backedUpMs + afterMs + backAfterMs;
    const back = { inOrder: false, elsewhere: false, newest: false } as const;
    events.push({ atMs, kind: "takeover", who: "c1", volume: 0 });
    events.push({ atMs: backedUpMs, kind: "metadata-back", afterMs, forMs: 5000, ...back });
    // The service is back before the backup is put back: peers look again, and see what there is.
    const awayMs = backAfterMs - random.between(1000, 2500);
    events.push({ atMs: backedUpMs + afterMs + 1, kind: "metadata-down", forMs: awayMs });
    const nextMs = putBackMs + random.between(10, 400);
    events.push({ atMs: nextMs, kind: "takeover", who: "c2", volume: 0 });
  }
  return events;
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
  {
    name: "fence-tells-nothing",
    seed: 2,
    of: "C7",
    how: "a fence does not say by which metadata it was decided: peers let in whoever attaches before they have looked at it",
    kinds: ["takeover", "metadata-back"],
    plan: { ...plan, durationMs: 60_000 },
    events: backToAnAttach,
    breakage: { client: { store: (store) => new TellsNothing(store) } },
  },
  {
    name: "served-is-forgotten",
    seed: 6,
    of: "C7",
    how: "peers that have not seen newer metadata do not mind that a fence knows a head from before an epoch that served",
    kinds: ["takeover", "metadata-back"],
    plan: { ...plan, durationMs: 60_000 },
    events: backToAnAttach,
    breakage: {
      client: { store: (store) => new ServedForgotten(store) },
      peer: { observed: (store) => new RevisionsForgotten(store) },
    },
  },
];
