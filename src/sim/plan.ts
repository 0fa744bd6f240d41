// Plan: everything a run does besides what follows from it, made from the seed: the cluster, its clients' work, and the faults
// with their times. Which kinds of fault are on differs from run to run (some bugs show only when a kind is absent).
//
// Each choice has a stream of numbers of its own, so that a new kind of fault, or a new field, leaves what seeds meant before alone.
//
// A plan is plain data. A shorter history of a failure is the same plan with some of its faults left out, so each event says
// all there is to say about itself.

import { blockBytesMin, crc32 } from "#model";
import type { UpkeepOptions } from "#upkeep";
import type { AttachTuning } from "#volume";
import type { Operation } from "./operations.ts";
import { operationsOf, pastOf, resizesOf } from "./operations.ts";
import { sizesOf } from "./plan-sizes.ts";
import { SeededRandom } from "./random.ts";
import type { WorkloadOptions } from "./session.ts";

export const faultKinds = [
  "peer-kill",
  "peer-power",
  "blackout",
  "client-kill",
  "client-power",
  "partition",
  "metadata-partition",
  "metadata-down",
  "metadata-trouble",
  "reset",
  "slow",
  "slow-disk",
  "pause",
  "suspend",
  "wall-jump",
  "clock-drift",
  "sync-error",
  "rot",
  "replace",
  "full",
  "takeover",
  "ring",
  "upkeep",
  "metadata-back",
] as const;

export type FaultKind = (typeof faultKinds)[number];

/** Machines are p1.. (peers), c1.. (clients) and meta. Times are of the simulated clock. */
export type FaultEvent = { readonly atMs: number } & (
  | { readonly kind: "crash"; readonly who: string; readonly power: boolean; readonly forMs: number }
  | { readonly kind: "blackout"; readonly clients: boolean; readonly forMs: number }
  | {
      readonly kind: "part";
      readonly a: string;
      readonly b: string;
      readonly oneWay: boolean;
      readonly forMs: number;
    }
  | { readonly kind: "metadata-down"; readonly forMs: number }
  | { readonly kind: "reset"; readonly a: string; readonly b: string }
  | {
      readonly kind: "slow";
      readonly a: string;
      readonly b: string;
      readonly extraMs: number;
      readonly forMs: number;
    }
  | { readonly kind: "slow-disk"; readonly who: string; readonly extraMs: number; readonly forMs: number }
  /** SIGSTOP; with `suspend` the machine sleeps, and its monotonic clock with it. */
  | { readonly kind: "pause"; readonly who: string; readonly suspend: boolean; readonly forMs: number }
  | { readonly kind: "wall-jump"; readonly who: string; readonly byMs: number }
  | { readonly kind: "sync-error"; readonly who: string }
  /** `open`: of blocks that are still written, if there are any. */
  | { readonly kind: "rot"; readonly who: string; readonly open: boolean; readonly place: number }
  /** Its disk is replaced by an empty one, after `forMs` without any. */
  | { readonly kind: "replace"; readonly who: string; readonly forMs: number }
  | { readonly kind: "takeover"; readonly who: string; readonly volume: number }
  | { readonly kind: "ring"; readonly change: RingChange; readonly pick: number }
  | { readonly kind: "ring-members"; readonly members: readonly string[] }
  | { readonly kind: "scratch"; readonly pages: number; readonly forMs: number }
  /**
   * A backup of the metadata is made now, put back `afterMs` later, and adopted after another `forMs`. `inOrder`: clients are stopped before; else
   * the service was away for long. `elsewhere`: the store that keeps it is another one then, as of an etcd. `newest`: before it is adopted, what there was
   * last is put back again: nothing is lost.
   */
  | {
      readonly kind: "metadata-back";
      readonly afterMs: number;
      readonly forMs: number;
      readonly inOrder: boolean;
      readonly elsewhere: boolean;
      readonly newest: boolean;
    }
);

export const ringChanges = ["add", "remove", "replicas"] as const;
export type RingChange = (typeof ringChanges)[number];
export interface VolumePlan {
  readonly name: string;
  readonly pages: number;
  readonly acknowledge: "replicated" | "writeback";
}

export interface Plan {
  readonly seed: number;
  readonly durationMs: number;
  /** In the ring from the start. */
  readonly peers: number;
  /** Running, not in the ring. */
  readonly spares: number;
  readonly replicas: number;
  readonly clients: number;
  readonly volumes: readonly VolumePlan[];
  readonly blockBytes: number;
  readonly storeBytes: number;
  /** Of stores. */
  readonly asideBytesMin: number;
  readonly leaseTtlMs: number;
  readonly writeCacheBytes: number;
  readonly mapCacheBytes: number;
  readonly readCacheBytes: number;
  readonly tuning: AttachTuning;
  readonly latencyMsMax: number;
  readonly flushMsMax: number;
  readonly metadataTroubleOneIn: number;
  /** What peers do by themselves, with short times; null: nothing. */
  readonly upkeep: UpkeepOptions | null;
  /** By machine; 1 where none is named. */
  readonly clockRates: Readonly<Record<string, number>>;
  readonly workload: WorkloadOptions;
  /** Volumes are cleaned, all the time. */
  readonly cleaning: boolean;
  /** How long the tail of a volume that nobody has is left before it is recovered; null: for ever. */
  readonly tailsAfterMs: number | null;
  readonly kinds: readonly FaultKind[];
  readonly events: readonly FaultEvent[];
  readonly operations: readonly Operation[];
}

/** Times that fit a run. */
export const shortUpkeep: UpkeepOptions = {
  repairAfterMs: 8000,
  repairBytesPerSecond: 16 * 2 ** 20,
  walkEveryMs: 2000,
  walkAgainMs: 5000,
  watchEveryMs: 700,
  verifiedForMs: 5000,
  collectGraceMs: 2000,
  scrubPeriodMs: 20_000,
};

/** Where nothing collects what is dead, a run must fit. */
export const largeStoreBytes = 192 * 2 ** 20;
const smallStoreBytes = 3 * 2 ** 20;

/** Disks of a run that are replaced: the next may go only when what the last one had is copied again. Metadata goes back as often. */
const onceMax = 1;

/** Numbers for one of the plan's choices. */
type Streams = (choice: string) => SeededRandom;

/** `kinds`: only these, all of them; without it the seed chooses. `fixed`: what it does not choose either. */
export function makePlan(
  seed: number,
  kinds: readonly FaultKind[] | null = null,
  fixed: Partial<Plan> = {},
): Plan {
  const streams: Streams = (choice) => new SeededRandom(seed, crc32(Buffer.from(`plan ${choice}`)));
  const chosen = kinds ?? chooseKinds(streams);
  const plan = { ...clusterPlan(seed, chosen, streams), ...fixed };
  const events = chosen.flatMap((kind) => eventsOf(kind, plan, streams(kind)));
  const clockRates = chosen.includes("clock-drift") ? driftOf(plan, streams("clock-drift")) : {};
  const made = { clockRates, events: events.sort((a, b) => a.atMs - b.atMs), ...plan };
  // Where faults are chosen by name, nothing else is to happen.
  if (kinds !== null || chosen.includes("metadata-back")) return made;
  const { all, collects } = operationsOf(streams("operations"), plan.durationMs);
  const past = all.length === 0 ? [] : pastOf(streams("history"), chosen, plan.durationMs);
  const resizes = all.length === 0 ? [] : resizesOf(streams("resizes"), plan.durationMs);
  const operations = [...all, ...past, ...resizes].sort((a, b) => a.atMs - b.atMs);
  return { ...made, operations, upkeep: collects ? shortUpkeep : made.upkeep };
}

function clusterPlan(
  seed: number,
  kinds: readonly FaultKind[],
  streams: Streams,
): Omit<Plan, "events" | "clockRates"> {
  const random = streams("cluster");
  const has = (kind: FaultKind): boolean => kinds.includes(kind);
  // Now and then long enough for what comes with time.
  const isLong = random.oneIn(6);
  const blockBytes = blockBytesMin * streams("block size").pick([1, 1, 1, 4, 16]);
  const durationMs = random.between(8, isLong ? 100 : 40) * 1000;
  return {
    seed,
    durationMs,
    peers: random.between(3, 6),
    spares: has("ring") ? random.between(1, 2) : 0,
    replicas: random.oneIn(4) ? 2 : 3,
    clients: random.between(1, 3),
    volumes: Array.from({ length: random.between(1, 2) }, (_, i) => volumePlan(`v${i + 1}`, streams)),
    blockBytes,
    storeBytes: has("full") ? Math.max(smallStoreBytes, 16 * blockBytes) : largeStoreBytes,
    asideBytesMin: streams("aside").oneIn(2) ? 1 : largeStoreBytes,
    leaseTtlMs: random.pick([1500, 3000, 6000]),
    latencyMsMax: random.pick([0.5, 2, 2, 10]),
    flushMsMax: random.pick([1, 5, 40]),
    upkeep: upkeepKinds.some(has) ? shortUpkeep : null,
    metadataTroubleOneIn: has("metadata-trouble") ? random.pick([5, 20, 60]) : 0,
    ...sizesOf(streams("sizes"), streams("read cache")),
    workload: {
      depth: random.pick([1, 2, 4]),
      thinkMsMax: isLong ? 400 : random.pick([40, 100, 300]),
      pagesMax: random.pick([1, 3, 6]),
      flushOneIn: random.pick([3, 8, 25]),
      sessionMsMax: isLong ? 90_000 : random.pick([2000, 8000, 20_000]),
    },
    cleaning: !streams("cleaning").oneIn(4),
    tailsAfterMs: streams("tails").pick([4000, 12_000, 30_000, null]),
    operations: [],
    kinds,
  };
}

/** With these, peers keep themselves up. */
const upkeepKinds: readonly FaultKind[] = ["ring", "replace", "upkeep", "metadata-back"];

/**
 * Not together with metadata that went back: what was put in a ring, created or deleted since the backup is for people to put in order
 * again, and a copy that rots when others were given up may have been the last.
 */
const notWhenBack: readonly FaultKind[] = ["ring", "replace", "upkeep", "full", "rot"];

/** Nothing goes on besides: histories in which one order of events matters are easier to find, and stay what they were. */
export const quiet: Partial<Plan> = {
  ...{ cleaning: false, tailsAfterMs: null, operations: [] },
  ...{ asideBytesMin: largeStoreBytes, readCacheBytes: 0 },
};

function chooseKinds(streams: Streams): FaultKind[] {
  const oneIn = streams("kinds").pick([2, 2, 4]);
  const rare: readonly FaultKind[] = ["rot", "replace", "full", "metadata-back"];
  const chosen = faultKinds.filter((kind) =>
    streams(`has ${kind}`).oneIn(rare.includes(kind) ? 2 * oneIn : oneIn),
  );
  return chosen.filter((kind) => {
    if (chosen.includes("metadata-back") && notWhenBack.includes(kind)) return false;
    // A wall clock set back while the other one sleeps hides time from both: that lease cannot be known [C24].
    if (kind === "wall-jump") return !chosen.includes("suspend");
    // A copy may be dropped for one that was whole when it was last read; that and one lost with its disk are two.
    return kind !== "replace" || !chosen.includes("rot");
  });
}

function volumePlan(name: string, streams: Streams): VolumePlan {
  const random = streams(`volume ${name}`);
  const size = random.uint32() % 32;
  // One leaf of the map, two, or more than memory is given for.
  const pages =
    size === 0
      ? random.between(9000, 10_000)
      : random.between(...((size < 5 ? [500, 700] : [4, 64]) as [number, number]));
  return { name, pages, acknowledge: random.oneIn(4) ? "writeback" : "replicated" };
}

function driftOf(shape: Shape, random: SeededRandom): Record<string, number> {
  const machines = [...names("p", shape.peers + shape.spares), ...names("c", shape.clients)];
  return Object.fromEntries(machines.map((who) => [who, 1 + (random.between(0, 100) - 50) / 10_000]));
}

function names(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${letter}${i + 1}`);
}

type Shape = Pick<Plan, "durationMs" | "peers" | "spares" | "clients" | "volumes">;

function eventsOf(kind: FaultKind, shape: Shape, random: SeededRandom): FaultEvent[] {
  const most = Math.max(2, Math.ceil(shape.durationMs / random.pick([1500, 4000, 10_000])));
  const count =
    kind === "replace" || kind === "metadata-back"
      ? onceMax
      : kind === "rot"
        ? random.between(1, 12)
        : random.between(1, kind === "ring" ? 5 : most);
  return Array.from({ length: count }, () => eventOf(kind, shape, random)).filter((event) => event !== null);
}

function eventOf(kind: FaultKind, shape: Shape, random: SeededRandom): FaultEvent | null {
  const atMs = random.between(50, shape.durationMs);
  const peer = random.pick(names("p", shape.peers + shape.spares));
  const client = random.pick(names("c", shape.clients));
  const anyone = random.oneIn(2) ? peer : client;
  const forMs = random.pick([20, 200, 1200, 2500, 6000, 12_000]);
  const oneWay = random.oneIn(3);
  switch (kind) {
    case "peer-kill":
    case "peer-power":
      return { atMs, kind: "crash", who: peer, power: kind === "peer-power", forMs };
    case "blackout":
      return { atMs, kind: "blackout", clients: random.oneIn(2), forMs: Math.min(forMs, 2500) };
    case "client-kill":
    case "client-power":
      return { atMs, kind: "crash", who: client, power: kind === "client-power", forMs };
    case "partition":
      return random.oneIn(2)
        ? { atMs, kind: "part", a: client, b: peer, oneWay, forMs }
        : { atMs, kind: "part", a: peer, b: client, oneWay, forMs };
    case "metadata-partition":
      return random.oneIn(2)
        ? { atMs, kind: "part", a: client, b: "meta", oneWay, forMs }
        : { atMs, kind: "part", a: "meta", b: client, oneWay, forMs };
    case "metadata-down":
      return { atMs, kind: "metadata-down", forMs };
    case "reset":
      return { atMs, kind: "reset", a: client, b: peer };
    case "slow":
      return { atMs, kind: "slow", a: client, b: peer, extraMs: random.pick([20, 200, 1500]), forMs };
    case "slow-disk":
      return { atMs, kind: "slow-disk", who: peer, extraMs: random.pick([100, 1500, 6000]), forMs };
    case "pause":
    case "suspend":
      return { atMs, kind: "pause", who: anyone, suspend: kind === "suspend", forMs };
    case "wall-jump":
      return { atMs, kind: "wall-jump", who: client, byMs: random.between(-20_000, 20_000) };
    case "sync-error":
      return { atMs, kind: "sync-error", who: peer };
    case "rot":
      return { atMs, kind: "rot", who: peer, open: random.oneIn(3), place: random.uint32() };
    case "replace":
      return { atMs, kind: "replace", who: peer, forMs };
    case "takeover":
      return { atMs, kind: "takeover", who: client, volume: random.uint32() % shape.volumes.length };
    case "ring":
      return { atMs, kind: "ring", change: random.pick(ringChanges), pick: random.uint32() };
    case "upkeep":
      return { atMs, kind: "scratch", pages: random.between(1, 40), forMs };
    case "metadata-back":
      return backEvent(shape, random);
    case "metadata-trouble":
    case "clock-drift":
    case "full":
      return null;
  }
}

function backEvent({ durationMs }: Shape, random: SeededRandom): FaultEvent {
  return {
    atMs: random.between(50, durationMs / 2),
    kind: "metadata-back",
    afterMs: random.between(0, durationMs / 2),
    forMs: random.pick([500, 3000, 8000]),
    inOrder: random.oneIn(2),
    elsewhere: random.oneIn(3),
    newest: random.oneIn(3),
  };
}
