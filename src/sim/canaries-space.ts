// Canaries of collecting: what a peer deletes when it judges its blocks by a rule that is not quite the one of docs/design.md §7.

import { partialReadCollects, readBeforeList, unknownIsDead } from "./broken-space.ts";
import type { Canary } from "./canaries.ts";
import type { FaultEvent } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

const overwritten = { depth: 2, thinkMsMax: 100, pagesMax: 6, flushOneIn: 10, sessionMsMax: 4000 };

const soon = {
  repairAfterMs: 600_000,
  repairBytesPerSecond: 16 * 2 ** 20,
  walkEveryMs: 600_000,
  walkAgainMs: 5000,
  watchEveryMs: 700,
  verifiedForMs: 5000,
  collectGraceMs: 1000,
  scrubPeriodMs: 600_000,
};

/** Again and again: two of four peers are down for a while, and with them both copies of some INodes. */
function halfIsDown(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 3000; atMs < 28_000; atMs += 6000) {
    const first = random.between(1, 4);
    const second = (first % 4) + 1;
    for (const who of [`p${first}`, `p${second}`])
      events.push({ atMs, kind: "crash", who, power: false, forMs: 4500 });
  }
  return events;
}

export const spaceCanaries: readonly Canary[] = [
  {
    name: "list-after-read",
    seed: 1,
    of: "C6",
    how: "a peer judges the blocks it lists by metadata that was read before: volumes made since are unknown to it",
    kinds: ["upkeep"],
    plan: { upkeep: { ...soon, walkEveryMs: 2000 }, durationMs: 30_000 },
    breakage: { peer: { upkeep: { deps: readBeforeList } } },
  },
  {
    name: "partial-read-collects",
    seed: 3,
    of: "C6",
    how: "an INode that cannot be read counts as one that needs nothing",
    kinds: ["upkeep"],
    plan: { upkeep: soon, workload: overwritten, durationMs: 30_000, peers: 4, spares: 0, replicas: 2 },
    events: halfIsDown,
    breakage: { peer: { upkeep: { deps: partialReadCollects } } },
  },
  {
    name: "unknown-is-dead",
    seed: 12,
    of: "C6, C7",
    how: "a failed read of the metadata counts as an empty one, and a volume that is in no list as deleted",
    kinds: ["upkeep", "metadata-trouble", "metadata-down"],
    plan: { upkeep: soon, workload: overwritten, durationMs: 30_000, metadataTroubleOneIn: 5 },
    breakage: { peer: { upkeep: { deps: unknownIsDead } } },
  },
];
