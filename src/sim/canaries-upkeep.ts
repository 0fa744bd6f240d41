// Canaries of upkeep: what goes wrong when peers move blocks by a rule that is not quite the one of docs/design.md §7.

import { blockBytesMin } from "#model";
import { attachTuningDefaults } from "#volume";
import { AnyCopyCounts, everyoneHasWalked, nothingReadable, VersionlessConfirmer } from "./broken-upkeep.ts";
import type { Canary } from "./canaries.ts";
import type { FaultEvent, Plan } from "./plan.ts";
import { shortUpkeep } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

/** Again and again: all data moves to the other half of the peers and, while it does, back, which the first half learns late. */
function thereAndBack(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  const halves = [
    ["p1", "p2"],
    ["p3", "p4"],
  ];
  for (let atMs = 6000; atMs < 40_000; atMs += 5000) {
    events.push({ atMs, kind: "ring-members", members: halves[1] });
    const backMs = atMs + random.between(200, 1800);
    for (const a of halves[0])
      events.push({ atMs: backMs, kind: "part", a: "meta", b: a, oneWay: false, forMs: 1200 });
    events.push({ atMs: backMs + 5, kind: "ring-members", members: halves[0] });
  }
  return events;
}

/** One peer after another is away until it is struck. */
function strikes(random: SeededRandom): FaultEvent[] {
  return [3000, 7000, 11_000, 15_000].map((atMs) => ({
    atMs,
    kind: "crash",
    who: random.pick(["p1", "p2", "p3", "p4"]),
    power: false,
    forMs: 1600,
  }));
}

const fewLargeWrites = { depth: 1, thinkMsMax: 600, pagesMax: 64, flushOneIn: 10, sessionMsMax: 60_000 };

/** Two copies, on either half of four peers, of a volume most of which stays live for long. */
const manyBlocks: Partial<Plan> = {
  peers: 4,
  spares: 0,
  replicas: 2,
  clients: 1,
  volumes: [{ name: "v1", pages: 2000, acknowledge: "replicated" }],
  durationMs: 42_000,
  blockBytes: blockBytesMin,
  tuning: attachTuningDefaults,
  latencyMsMax: 5,
  flushMsMax: 40,
  workload: fewLargeWrites,
};

export const upkeepCanaries: readonly Canary[] = [
  {
    name: "stale-copies-count",
    seed: 20,
    of: "C4",
    how: "an open copy of a block, left by a peer that was struck, counts as holding it",
    kinds: ["peer-kill"],
    plan: { ...manyBlocks, replicas: 3, durationMs: 20_000, upkeep: shortUpkeep },
    events: strikes,
    // Nothing is collected, which does no harm, or what such copies are of would soon be gone with them.
    breakage: {
      peer: {
        upkeep: {
          deps: (deps) => ({
            ...deps,
            needed: nothingReadable,
            storeOf: (peer) => new AnyCopyCounts(deps.storeOf(peer), deps.store),
          }),
        },
      },
    },
  },
  {
    name: "ring-version-ignored",
    seed: 10,
    of: "C8",
    how: "a peer confirms what it holds, whichever ring it is asked about and whichever is in force there",
    kinds: ["ring"],
    plan: {
      ...manyBlocks,
      upkeep: { ...shortUpkeep, repairAfterMs: 600_000, repairBytesPerSecond: 2 ** 30 },
    },
    events: thereAndBack,
    breakage: { peer: { upkeep: { confirmer: (_, store) => new VersionlessConfirmer(store) } } },
  },
  {
    name: "settled-too-early",
    seed: 20,
    of: "C9",
    how: "an old ring is let go as soon as no log is placed by it, before the peers have walked over what they hold",
    kinds: ["ring"],
    plan: { ...manyBlocks, upkeep: { ...shortUpkeep, repairBytesPerSecond: 2 ** 19 } },
    events: thereAndBack,
    breakage: {
      peer: { upkeep: { deps: (deps) => ({ ...deps, metadata: everyoneHasWalked(deps.metadata) }) } },
    },
  },
];
