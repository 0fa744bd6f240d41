// Canaries of snapshots, histories and sizes (C6, C23, C26): what the operator does is broken, and the clients or the snapshots themselves show it.

import { attachTuningDefaults } from "#volume";
import { pointsTooEarly, restoreReplays, sizeAlone, snapshotOfHead } from "./broken-snapshots.ts";
import { historyForgotten, snapshotsForgotten } from "./broken-upkeep.ts";
import type { Canary } from "./canaries.ts";
import type { Operation } from "./operations.ts";
import type { FaultEvent } from "./plan.ts";
import { shortUpkeep } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

const oneVolume = [{ name: "v1", pages: 16, acknowledge: "replicated" }] as const;
const busy = { depth: 4, thinkMsMax: 40, pagesMax: 3, flushOneIn: 50, sessionMsMax: 2500 };

/** Again and again: a snapshot while somebody writes; then all clients lose power, and before they are back it is restored. */
const period = 6000;
const rounds = 5;

function deaths(random: SeededRandom): FaultEvent[] {
  return Array.from({ length: rounds }, (_, i) => {
    const atMs = 3000 + i * period + random.between(0, 300);
    return ["c1", "c2"].map((who) => ({ atMs, kind: "crash", who, power: true, forMs: 3000 }) as const);
  }).flat();
}

const restores: readonly Operation[] = Array.from({ length: rounds }, (_, i) => [
  { atMs: 1500 + i * period, kind: "snapshot", pick: 0 } as const,
  { atMs: 3000 + i * period + 1800, kind: "restore", pick: i } as const,
]).flat();

const snapshots: readonly Operation[] = Array.from({ length: 20 }, (_, i) => [
  { atMs: 1000 + i * 700, kind: "snapshot", pick: 0 } as const,
  { atMs: 1300 + i * 700, kind: "read", pick: i } as const,
]).flat();

/** The first of them is read again and again. */
const oneKept: readonly Operation[] = [
  { atMs: 1000, kind: "snapshot", pick: 0 },
  ...Array.from({ length: 10 }, (_, i) => ({ atMs: 2500 + i * 1000, kind: "read", pick: 0 }) as const),
];

/** What the volume was at this moment and that, asked for some seconds later. */
const moments: readonly Operation[] = [
  { atMs: 500, kind: "keep", pick: 0 },
  ...Array.from({ length: 20 }, (_, i) => [
    { atMs: 2000 + i * 500, kind: "mark", pick: 0 } as const,
    { atMs: 5000 + i * 600, kind: "past", pick: i } as const,
  ]).flat(),
];

/** Smaller while somebody writes; then all clients lose power; then larger again. */
const smallerAndLarger: readonly Operation[] = Array.from({ length: rounds }, (_, i) => [
  { atMs: 2500 + i * period, kind: "resize", pick: 1 << 8 } as const,
  { atMs: 3000 + i * period + 3500, kind: "resize", pick: 0 } as const,
]).flat();

export const snapshotCanaries: readonly Canary[] = [
  {
    name: "restore-replays",
    seed: 1,
    of: "C23",
    how: "a restored head has the replay position of the log's start, so the tail is replayed over the snapshot",
    kinds: ["client-power"],
    plan: {
      clients: 2,
      volumes: oneVolume,
      durationMs: 34_000,
      leaseTtlMs: 1500,
      workload: { ...busy, sessionMsMax: 20_000 },
      operations: restores,
    },
    events: deaths,
    breakage: { client: { metadata: (service) => restoreReplays(service) } },
  },
  {
    name: "snapshot-of-head",
    seed: 1,
    of: "C23",
    how: "a snapshot names the committed head, and the writer, whose answers are ahead of it, is not asked",
    kinds: [],
    plan: {
      clients: 1,
      volumes: oneVolume,
      durationMs: 20_000,
      workload: { ...busy, sessionMsMax: 20_000 },
      operations: snapshots,
    },
    breakage: { client: { metadata: (service) => snapshotOfHead(service) } },
  },
  {
    name: "snapshots-forgotten",
    seed: 1,
    of: "C6",
    how: "peers collect the blocks that only snapshots need",
    kinds: [],
    plan: {
      clients: 1,
      volumes: oneVolume,
      durationMs: 13_000,
      workload: busy,
      operations: oneKept,
      upkeep: shortUpkeep,
    },
    breakage: {
      peer: { upkeep: { deps: (deps) => ({ ...deps, metadata: snapshotsForgotten(deps.metadata) }) } },
    },
  },
  {
    name: "history-forgotten",
    seed: 1,
    of: "C6",
    how: "peers collect the blocks that only the history of a volume needs",
    kinds: [],
    plan: {
      clients: 1,
      volumes: oneVolume,
      durationMs: 18_000,
      workload: busy,
      operations: moments,
      upkeep: shortUpkeep,
      tuning: { ...attachTuningDefaults, checkpointEveryMs: 1000 },
    },
    breakage: {
      peer: { upkeep: { deps: (deps) => ({ ...deps, metadata: historyForgotten(deps.metadata) }) } },
    },
  },
  {
    name: "points-too-early",
    seed: 1,
    of: "docs/operate/history.md",
    how: "a checkpoint stands for a time before its last record, so the past is too new",
    kinds: [],
    plan: {
      clients: 1,
      volumes: oneVolume,
      durationMs: 18_000,
      workload: busy,
      operations: moments,
      tuning: { ...attachTuningDefaults, checkpointEveryMs: 1000 },
    },
    breakage: { client: { metadata: (service) => pointsTooEarly(service) } },
  },
  {
    name: "size-alone",
    seed: 2,
    of: "C26",
    how: "a volume becomes smaller by its size alone: the head still has what was past the new end",
    kinds: ["client-power"],
    plan: {
      clients: 2,
      volumes: [{ name: "v1", pages: 64, acknowledge: "replicated" }],
      durationMs: 34_000,
      leaseTtlMs: 1500,
      workload: { ...busy, sessionMsMax: 20_000 },
      operations: smallerAndLarger,
    },
    events: deaths,
    breakage: { client: { metadata: (service) => sizeAlone(service) } },
  },
];
