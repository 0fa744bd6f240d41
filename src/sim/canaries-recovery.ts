// Canaries of recovery (whose log is replayed, where it ends, which blocks it has) and of pools without space.

import { attachTuningDefaults } from "#volume";
import { FullIsFailed, NoReserve, SharedIndex, TornTail, takenIsServed } from "./broken-recovery.ts";
import type { Canary } from "./canaries.ts";
import { deathsWhileAttaching, rotThenSilence } from "./canary-events.ts";

const oneVolume = [{ name: "v1", pages: 16, acknowledge: "replicated" }] as const;

export const recoveryCanaries: readonly Canary[] = [
  {
    name: "taken-is-served",
    seed: 3,
    of: "C12",
    how: "recovery replays the log of the epoch taken last, also when that attach died before it served",
    kinds: ["client-power"],
    plan: {
      clients: 2,
      volumes: oneVolume,
      durationMs: 40_000,
      leaseTtlMs: 1500,
      flushMsMax: 40,
      workload: { depth: 2, thinkMsMax: 60, pagesMax: 3, flushOneIn: 6, sessionMsMax: 20_000 },
    },
    events: deathsWhileAttaching,
    breakage: { client: { metadata: (service) => takenIsServed(service) } },
  },
  {
    name: "rot-is-a-torn-tail",
    seed: 7,
    of: "C13",
    how: "a peer does not report which positions the headers behind a damaged record call durable",
    kinds: ["rot", "peer-kill", "partition", "client-power"],
    plan: {
      peers: 4,
      spares: 0,
      replicas: 2,
      clients: 2,
      volumes: oneVolume,
      durationMs: 60_000,
      leaseTtlMs: 1500,
      tuning: attachTuningDefaults,
      workload: { depth: 2, thinkMsMax: 80, pagesMax: 2, flushOneIn: 4, sessionMsMax: 20_000 },
    },
    events: rotThenSilence,
    breakage: { client: { store: (store) => new TornTail(store) } },
  },
  {
    name: "shared-index",
    seed: 2,
    of: "C15",
    how: "blocks of INodes take indexes of the same count as data blocks, which leaves gaps between these",
    kinds: ["client-kill"],
    plan: { volumes: oneVolume },
    breakage: { client: { store: (store, client) => new SharedIndex(store, client) } },
  },
  {
    name: "full-is-failed",
    seed: 3,
    of: "C16",
    how: "a peer without space counts as a failed one, which is struck",
    kinds: ["full"],
    breakage: { client: { store: (store) => new FullIsFailed(store) } },
  },
  {
    name: "no-reserve",
    seed: 1,
    of: "C16",
    how: "a store that is full for new data takes no log of an attach and no checkpoint either",
    kinds: ["full"],
    plan: {
      clients: 1,
      volumes: [{ name: "v1", pages: 64, acknowledge: "replicated" }],
      durationMs: 30_000,
      tuning: attachTuningDefaults,
      workload: { depth: 4, thinkMsMax: 40, pagesMax: 6, flushOneIn: 25, sessionMsMax: 60_000 },
    },
    breakage: { peer: { store: (store) => new NoReserve(store) } },
  },
];
