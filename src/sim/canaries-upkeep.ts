// Canaries of upkeep: what goes wrong when peers move blocks by a rule that is not quite the one of docs/design.md §7.

import { AnyCopyCounts, VersionlessConfirmer } from "./broken-upkeep.ts";
import type { Canary } from "./canaries.ts";
import type { FaultEvent } from "./plan.ts";
import { shortUpkeep } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

/** Again and again: all data moves to the other half of the peers and, while it does, back, which the first half learns late. */
function thereAndBack(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  const halves = [
    ["p1", "p2"],
    ["p3", "p4"],
  ];
  for (let atMs = 6000; atMs < 60_000; atMs += 6000) {
    events.push({ atMs, kind: "ring-members", members: halves[1] });
    const backMs = atMs + random.between(100, 1500);
    for (const a of halves[0])
      events.push({ atMs: backMs, kind: "part", a: "meta", b: a, oneWay: false, forMs: 1500 });
    events.push({ atMs: backMs + 5, kind: "ring-members", members: halves[0] });
  }
  return events;
}

const large = { depth: 4, thinkMsMax: 100, pagesMax: 6, flushOneIn: 25, sessionMsMax: 60_000 };

export const upkeepCanaries: readonly Canary[] = [
  {
    name: "stale-copies-count",
    seed: 1,
    of: "C4",
    how: "an open copy of a block, left by a peer that was struck, counts as holding it",
    kinds: ["peer-kill", "ring"],
    // Such copies would be collected soon.
    plan: { upkeep: { ...shortUpkeep, collectGraceMs: 600_000 } },
    breakage: {
      peer: {
        upkeep: {
          deps: (deps) => ({ ...deps, storeOf: (peer) => new AnyCopyCounts(deps.storeOf(peer), deps.store) }),
        },
      },
    },
  },
  {
    name: "ring-version-ignored",
    seed: 1,
    of: "C8",
    how: "a peer confirms what it holds, whichever ring it is asked about and whichever is in force there",
    kinds: ["ring"],
    plan: {
      peers: 4,
      spares: 0,
      replicas: 2,
      clients: 1,
      volumes: [{ name: "v1", pages: 4000, acknowledge: "replicated" }],
      durationMs: 64_000,
      latencyMsMax: 5,
      flushMsMax: 40,
      workload: large,
      upkeep: { ...shortUpkeep, repairAfterMs: 600_000 },
    },
    events: thereAndBack,
    breakage: { peer: { upkeep: { confirmer: (_, store) => new VersionlessConfirmer(store) } } },
  },
];
