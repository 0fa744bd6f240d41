// Canaries of clients that outlive the writer of their volume (C2).

import { CutForgotten, carriedOver, MarksTellAll } from "./broken-sessions.ts";
import type { Canary } from "./canaries.ts";
import type { FaultEvent, Plan } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

/** Few flushes, so that much is answered and not durable, and a client that keeps its volume. */
const plan: Partial<Plan> = {
  peers: 3,
  replicas: 3,
  clients: 2,
  volumes: [{ name: "v1", pages: 16, acknowledge: "replicated" }],
  durationMs: 40_000,
  leaseTtlMs: 1500,
  workload: { depth: 2, thinkMsMax: 40, pagesMax: 3, flushOneIn: 60, sessionMsMax: 20_000 },
};

/** Again and again: the power of all peers fails, and the writer is killed at once. */
function darkThenDeath(random: SeededRandom): FaultEvent[] {
  const events: FaultEvent[] = [];
  for (let atMs = 2000; atMs < 38_000; atMs += 6000) {
    events.push({ atMs, kind: "blackout", clients: false, forMs: 200 });
    const diedMs = atMs + random.between(0, 260);
    for (const who of ["c1", "c2"]) events.push({ atMs: diedMs, kind: "crash", who, power: true, forMs: 50 });
  }
  return events;
}

export const sessionCanaries: readonly Canary[] = [
  {
    name: "session-carried-over",
    seed: 1,
    of: "C2",
    how: "clients go on though the recovery was not whole",
    kinds: ["blackout", "client-kill"],
    plan,
    events: darkThenDeath,
    breakage: { client: { volume: (volume) => carriedOver(volume) } },
  },
  {
    name: "cut-forgotten",
    seed: 1,
    of: "C2",
    how: "a peer that restarted speaks for what it lost",
    kinds: ["blackout", "client-kill"],
    plan,
    events: darkThenDeath,
    breakage: { peer: { store: (store) => new CutForgotten(store), unwitnessed: true } },
  },
  {
    name: "marks-tell-all",
    seed: 4,
    of: "C2",
    how: "a peer that restarted speaks for blocks it lost whole, because those it has are not marked",
    kinds: ["blackout", "client-kill"],
    plan,
    events: darkThenDeath,
    breakage: { peer: { store: (store) => new MarksTellAll(store), unwitnessed: true } },
  },
];
