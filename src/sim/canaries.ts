// Canaries: known ways to lose data, each switched on by itself, that the checkers must find: a checker that has never caught its
// canary proves nothing. Each breaks one rule at a seam of the simulator; the production code has no switch for any of them.
//
// What the code does not have yet has no canary: encryption (C21) and erasure coding (C22).

import {
  idleFlush,
  ringsForgotten,
  secondFlushIsOk,
  silenceIsConsent,
  strikesForgotten,
  unguarded,
  unheldWrites,
  unlockedParts,
  unverifiedReads,
} from "./broken-clients.ts";
import { FailedIsHeld, LostForEver, RetryDiffers, SilenceIsAbsence, TailIsFinal } from "./broken-links.ts";
import { DroppingStore, FencelessStore, HastyStore, lyingDisk } from "./broken-peers.ts";
import { cleanerCanaries } from "./canaries-cleaner.ts";
import { metadataCanaries } from "./canaries-metadata.ts";
import { recoveryCanaries } from "./canaries-recovery.ts";
import { scrubCanaries } from "./canaries-scrub.ts";
import { sessionCanaries } from "./canaries-sessions.ts";
import { snapshotCanaries } from "./canaries-snapshots.ts";
import { spaceCanaries } from "./canaries-space.ts";
import { upkeepCanaries } from "./canaries-upkeep.ts";
import {
  cutOff,
  deathThenDark,
  deathThenSilence,
  killsThenDark,
  strikesThenSilence,
} from "./canary-events.ts";
import type { Breakage } from "./cluster.ts";
import type { FaultEvent, FaultKind, Plan } from "./plan.ts";
import { makePlan, quiet } from "./plan.ts";
import { SeededRandom } from "./random.ts";
import type { Outcome } from "./run.ts";
import { runPlan } from "./run.ts";

export interface Canary {
  readonly name: string;
  /** The counterexample it is of, or the section of docs/design.md. */
  readonly of: string;
  /** The rule that is broken, and how. */
  readonly how: string;
  readonly kinds: readonly FaultKind[];
  /** What of the plan it needs otherwise. */
  readonly plan?: Partial<Plan>;
  /** Faults in place of the plan's, where chance alone would take long to find the one order that matters. */
  readonly events?: (random: SeededRandom) => FaultEvent[];
  readonly breakage: Breakage;
  /** One that finds it. */
  readonly seed: number;
}

const oneVolume = [{ name: "v1", pages: 16, acknowledge: "replicated" }] as const;

const busy = { depth: 4, thinkMsMax: 40, pagesMax: 3, flushOneIn: 50, sessionMsMax: 2500 };

export const canaries: readonly Canary[] = [
  ...sessionCanaries,
  {
    name: "lying-disk",
    seed: 1,
    of: "C14",
    how: "an fdatasync answers and does nothing, so what is called durable is not",
    kinds: ["blackout", "client-kill"],
    breakage: { peer: { disk: (disk) => lyingDisk(disk, () => true), unwitnessed: true } },
  },
  {
    name: "start-without-sync",
    seed: 4,
    of: "C14",
    how: "a store that starts calls durable what only the drive's cache holds: its first fdatasync does nothing",
    kinds: ["peer-kill", "blackout"],
    plan: { peers: 3, clients: 2, durationMs: 20_000, flushMsMax: 40 },
    events: killsThenDark,
    breakage: { peer: { disk: (disk) => lyingDisk(disk, (call) => call === 1) } },
  },
  {
    name: "hasty-store",
    seed: 1,
    of: "C14",
    how: "a store says durable as soon as it holds",
    kinds: ["blackout", "client-kill"],
    breakage: { peer: { store: (store) => new HastyStore(store), unwitnessed: true } },
  },
  {
    name: "dropping-store",
    seed: 1,
    of: "§3",
    how: "a store answers durable for an append it dropped",
    kinds: ["client-kill", "peer-kill"],
    breakage: { peer: { store: (store) => new DroppingStore(store), unwitnessed: true } },
  },
  {
    name: "fence-forgotten",
    seed: 8,
    of: "C1",
    how: "peers answer a fence and go on taking appends of older epochs",
    kinds: ["takeover", "metadata-partition"],
    plan: { peers: 5, replicas: 2, clients: 3, volumes: oneVolume },
    breakage: { peer: { store: (store) => new FencelessStore(store), unwitnessed: true } },
  },
  {
    name: "silence-is-absence",
    seed: 16,
    of: "C1, C13",
    how: "recovery takes a peer that does not answer the fence for one that holds nothing",
    kinds: ["partition", "client-power"],
    plan: { peers: 4, replicas: 2, clients: 2, durationMs: 30_000, leaseTtlMs: 1500 },
    events: deathThenSilence,
    breakage: { client: { store: (store) => new SilenceIsAbsence(store) } },
  },
  {
    name: "retry-differs",
    seed: 4,
    of: "C3",
    how: "what is sent again for the same place has other bytes",
    kinds: ["reset", "client-kill", "takeover"],
    plan: { volumes: oneVolume, clients: 2 },
    breakage: { client: { store: (store) => new RetryDiffers(store) } },
  },
  {
    name: "tail-is-final",
    seed: 49,
    of: "C5",
    how: "recovery points the map at open blocks of the old epoch and does not append them again",
    kinds: ["client-kill", "blackout"],
    plan: {
      clients: 2,
      volumes: oneVolume,
      durationMs: 40_000,
      leaseTtlMs: 1500,
      workload: { ...busy, depth: 1, thinkMsMax: 100, sessionMsMax: 20_000 },
    },
    events: deathThenDark,
    breakage: { client: { store: (store) => new TailIsFinal(store) } },
  },
  {
    name: "metadata-went-back",
    seed: 1,
    of: "C7",
    how: "the metadata service is restored from what it was some transactions ago",
    kinds: ["client-kill"],
    breakage: {
      tick: ({ world, metadata }) =>
        world.random(`back ${world.clock.steps}`).oneIn(6) && metadata.loseLast(20),
    },
  },
  {
    name: "rings-forgotten",
    seed: 1,
    of: "C9",
    how: "old ring versions are gone while logs are placed by them",
    kinds: ["ring", "client-kill", "takeover"],
    breakage: { client: { metadata: (service) => ringsForgotten(service) } },
  },
  {
    name: "strikes-forgotten",
    seed: 4,
    of: "C10",
    how: "recovery does not see which peers were struck, and trusts their short copies",
    kinds: ["partition", "client-power"],
    plan: {
      peers: 5,
      replicas: 3,
      clients: 2,
      volumes: oneVolume,
      durationMs: 90_000,
      leaseTtlMs: 1500,
      latencyMsMax: 5,
      flushMsMax: 60,
      workload: { ...busy, depth: 8, thinkMsMax: 300, flushOneIn: 3, sessionMsMax: 20_000 },
    },
    events: strikesThenSilence,
    breakage: { client: { metadata: (service) => strikesForgotten(service) } },
  },
  {
    name: "failed-is-held",
    seed: 59,
    of: "§3",
    how: "a member that failed counts as having what it was sent",
    kinds: ["partition", "peer-kill", "client-kill"],
    breakage: { client: { store: (store) => new FailedIsHeld(store) } },
  },
  {
    name: "lost-for-ever",
    seed: 2,
    of: "C11",
    how: "members that restart are never taken back, though the writer has their bytes",
    kinds: ["peer-kill", "reset", "partition"],
    breakage: { client: { store: (store) => new LostForEver(store) } },
  },
  {
    name: "unlocked-parts",
    seed: 5,
    of: "C18",
    how: "writes of two parts of one page both read it as it was before",
    kinds: [],
    breakage: { client: { volume: (volume) => unlockedParts(volume) } },
  },
  {
    name: "second-flush",
    seed: 1,
    of: "C19",
    how: "after a flush that failed the next one is answered OK",
    kinds: ["takeover", "client-kill"],
    breakage: { client: { volume: (volume) => secondFlushIsOk(volume) } },
  },
  {
    name: "idle-flush",
    seed: 7,
    of: "§3",
    how: "a flush is answered before anything is durable",
    kinds: ["blackout", "client-power"],
    breakage: { client: { volume: (volume) => idleFlush(volume) } },
  },
  {
    name: "unheld-writes",
    seed: 3,
    of: "§3",
    how: "writes are answered before any member holds them",
    kinds: ["client-kill", "takeover"],
    breakage: { client: { volume: (volume) => unheldWrites(volume) } },
  },
  {
    name: "unverified-reads",
    seed: 3,
    of: "§4",
    how: "a wrong bit in what a peer sends reaches the user",
    kinds: [],
    breakage: { client: { volume: (volume) => unverifiedReads(volume) } },
  },
  {
    name: "silence-is-consent",
    seed: 5,
    of: "C24",
    how: "a writer that is cut off from the metadata service takes its lease for renewed and goes on serving reads",
    kinds: ["metadata-partition"],
    plan: {
      clients: 2,
      volumes: [{ name: "v1", pages: 1, acknowledge: "replicated" }],
      leaseTtlMs: 6000,
      durationMs: 100_000,
      workload: { ...busy, depth: 1, thinkMsMax: 60, changeOneIn: 6, sessionMsMax: 40_000 },
    },
    events: cutOff,
    breakage: { client: { metadata: (service) => silenceIsConsent(service) } },
  },
  {
    name: "unguarded-head",
    seed: 3,
    of: "C24",
    how: "a checkpoint is committed without the guard that this is still the writer",
    kinds: ["takeover", "metadata-partition", "pause"],
    plan: { clients: 3, volumes: oneVolume },
    breakage: { client: { metadata: (service) => unguarded(service) } },
  },
  {
    name: "lost-commit",
    seed: 1,
    of: "C25",
    how: "the metadata service loses its last transaction, as without synchronous writes",
    kinds: ["client-kill", "takeover"],
    breakage: { tick: ({ metadata }) => metadata.loseLast(1) },
  },
  ...metadataCanaries,
  ...cleanerCanaries,
  ...recoveryCanaries,
  ...snapshotCanaries,
  ...upkeepCanaries,
  ...scrubCanaries,
  ...spaceCanaries,
];

/** Small and short, so that many fit into a minute. */
const small = { volumes: oneVolume, durationMs: 20_000 };

/** The plan of `seed` for `canary`. */
export function canaryPlan(canary: Canary, seed: number): Plan {
  const plan = makePlan(seed, canary.kinds, { ...quiet, ...small, ...canary.plan });
  return canary.events === undefined ? plan : { ...plan, events: canary.events(new SeededRandom(seed, 2)) };
}

/** One seed with the canary's rule broken; found when there is a violation. */
export function runCanary(canary: Canary, seed: number): Promise<Outcome> {
  return runPlan(canaryPlan(canary, seed), { breakage: canary.breakage });
}
