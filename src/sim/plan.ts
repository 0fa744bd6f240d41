// Plan: everything a run does besides what follows from it, made from the seed: the cluster, its clients' work, and the faults
// with their times. Which kinds of fault are on differs from run to run (some bugs show only when a kind is absent).
//
// A plan is plain data. A shorter history of a failure is the same plan with some of its faults left out, so each event says
// all there is to say about itself.

import { blockBytesMin } from "#model";
import type { UpkeepOptions } from "#upkeep";
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
  "pause",
  "wall-jump",
  "clock-drift",
  "sync-error",
  "rot",
  "full",
  "takeover",
  "ring",
  "upkeep",
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
  | { readonly kind: "pause"; readonly who: string; readonly forMs: number }
  | { readonly kind: "wall-jump"; readonly who: string; readonly byMs: number }
  | { readonly kind: "sync-error"; readonly who: string }
  | { readonly kind: "rot"; readonly who: string; readonly place: number }
  | { readonly kind: "takeover"; readonly who: string; readonly volume: number }
  | { readonly kind: "ring"; readonly change: "add" | "remove" | "replicas"; readonly pick: number }
  | { readonly kind: "ring-members"; readonly members: readonly string[] }
  | { readonly kind: "scratch"; readonly pages: number; readonly forMs: number }
);

/** What the operator does (operator.ts); `pick` says to which volume or snapshot. */
export interface Operation {
  readonly atMs: number;
  readonly kind: "snapshot" | "read" | "restore" | "clone" | "flatten" | "delete";
  readonly pick: number;
}

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
  readonly leaseTtlMs: number;
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
  busyShare: 1,
  walkEveryMs: 2000,
  watchEveryMs: 700,
  verifiedForMs: 5000,
  collectGraceMs: 2000,
  scrubPeriodMs: 20_000,
};

const upkeepStream = 56;

/** Where nothing collects what is dead, a run must fit. */
const largeStoreBytes = 192 * 2 ** 20;
const smallStoreBytes = 3 * 2 ** 20;

/** Kinds that would excuse a loss where another kind is on too: a copy that rotted must not be the only one left. */
const rotExcludes: readonly FaultKind[] = [
  "peer-kill",
  "peer-power",
  "blackout",
  "partition",
  "slow",
  "sync-error",
  "pause",
  "reset",
  "full",
  "ring",
];

/** `kinds`: only these, all of them; without it the seed chooses. */
export function makePlan(seed: number, kinds: readonly FaultKind[] | null = null): Plan {
  const random = new SeededRandom(seed, 1);
  const chosen = kinds ?? [...chooseKinds(random), ...chooseUpkeep(seed)];
  const has = (kind: FaultKind): boolean => chosen.includes(kind);
  const peers = random.between(3, 6);
  const spares = has("ring") ? random.between(1, 2) : 0;
  const clients = random.between(1, 3);
  // Now and then long enough for the checkpoints that come with time.
  const isLong = random.oneIn(6);
  const durationMs = random.between(8, isLong ? 100 : 40) * 1000;
  const volumes = Array.from({ length: random.between(1, 2) }, (_, i): VolumePlan => {
    const pages = random.oneIn(8) ? random.between(500, 700) : random.between(4, 64);
    return { name: `v${i + 1}`, pages, acknowledge: random.oneIn(4) ? "writeback" : "replicated" };
  });
  const machines = { peers: names("p", peers + spares), clients: names("c", clients) };
  const clockRates: Record<string, number> = {};
  if (has("clock-drift"))
    for (const who of [...machines.peers, ...machines.clients])
      clockRates[who] = 1 + (random.between(0, 100) - 50) / 10_000;
  // Where faults are chosen by name, nothing else is to happen.
  const operations = kinds === null ? operationsOf(new SeededRandom(seed, 3), durationMs) : noOperations;
  const shape = { durationMs, machines, volumes: volumes.length };
  return {
    seed,
    durationMs,
    peers,
    spares,
    replicas: random.oneIn(4) ? 2 : 3,
    clients,
    volumes,
    blockBytes: random.oneIn(3) ? 4 * blockBytesMin : blockBytesMin,
    storeBytes: has("full") ? smallStoreBytes : largeStoreBytes,
    leaseTtlMs: random.pick([1500, 3000, 6000]),
    latencyMsMax: random.pick([0.5, 2, 2, 10]),
    flushMsMax: random.pick([1, 5, 40]),
    upkeep: has("ring") || has("upkeep") || operations.collects ? shortUpkeep : null,
    metadataTroubleOneIn: has("metadata-trouble") ? random.pick([5, 20, 60]) : 0,
    clockRates,
    workload: {
      depth: random.pick([1, 2, 4]),
      thinkMsMax: isLong ? 400 : random.pick([40, 100, 300]),
      pagesMax: random.pick([1, 3, 6]),
      flushOneIn: random.pick([3, 8, 25]),
      sessionMsMax: isLong ? 90_000 : random.pick([2000, 8000, 20_000]),
    },
    cleaning: true,
    tailsAfterMs: [4000, 12_000, 30_000][seed % 3],
    kinds: chosen,
    events: chosen.flatMap((kind) => eventsOf(kind, shape, random)).sort((a, b) => a.atMs - b.atMs),
    operations: operations.all,
  };
}

/** `plan` with nothing going on besides: histories in which one order of events matters stay what they were. */
export function quietPlan(plan: Plan): Plan {
  return { ...plan, cleaning: false, tailsAfterMs: null, operations: [] };
}

/** In one run of three; in half of these peers collect what is dead, too. */
function operationsOf(
  random: SeededRandom,
  durationMs: number,
): { readonly all: readonly Operation[]; readonly collects: boolean } {
  if (!random.oneIn(3)) return noOperations;
  const collects = random.oneIn(2);
  const kinds = [
    "snapshot",
    "snapshot",
    "snapshot",
    "read",
    "restore",
    "clone",
    "flatten",
    "delete",
  ] as const;
  const count = Math.ceil(durationMs / random.pick([1000, 3000]));
  const operations = Array.from({ length: count }, () => ({
    atMs: random.between(200, durationMs),
    kind: random.pick(kinds),
    pick: random.uint32(),
  }));
  return { all: operations.sort((a, b) => a.atMs - b.atMs), collects };
}

const noOperations = { all: [], collects: false } as const;

function chooseKinds(random: SeededRandom): FaultKind[] {
  const oneIn = random.pick([2, 2, 4]);
  const drawn = faultKinds.filter((kind) => kind !== "upkeep");
  const chosen = drawn.filter((kind) => random.oneIn(kind === "rot" || kind === "full" ? 8 : oneIn));
  return chosen.includes("rot") ? chosen.filter((kind) => !rotExcludes.includes(kind)) : chosen;
}

/** By numbers of its own, so that it changes nothing else of what a seed means. */
function chooseUpkeep(seed: number): FaultKind[] {
  return new SeededRandom(seed, upkeepStream).oneIn(2) ? ["upkeep"] : [];
}

function names(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${letter}${i + 1}`);
}

interface Shape {
  readonly durationMs: number;
  readonly machines: { readonly peers: readonly string[]; readonly clients: readonly string[] };
  readonly volumes: number;
}

function eventsOf(kind: FaultKind, shape: Shape, random: SeededRandom): FaultEvent[] {
  const most = Math.max(2, Math.ceil(shape.durationMs / random.pick([1500, 4000, 10_000])));
  const count = kind === "rot" || kind === "ring" ? random.between(1, 4) : random.between(1, most);
  return Array.from({ length: count }, () => eventOf(kind, shape, random)).filter((event) => event !== null);
}

function eventOf(
  kind: FaultKind,
  { durationMs, machines, volumes }: Shape,
  random: SeededRandom,
): FaultEvent | null {
  const atMs = random.between(50, durationMs);
  const peer = random.pick(machines.peers);
  const client = random.pick(machines.clients);
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
    case "pause":
      return { atMs, kind: "pause", who: anyone, forMs };
    case "wall-jump":
      return { atMs, kind: "wall-jump", who: client, byMs: random.between(-20_000, 20_000) };
    case "sync-error":
      return { atMs, kind: "sync-error", who: peer };
    case "rot":
      return { atMs, kind: "rot", who: "p1", place: random.uint32() };
    case "takeover":
      return { atMs, kind: "takeover", who: client, volume: random.uint32() % volumes };
    case "ring":
      return {
        atMs,
        kind: "ring",
        change: random.pick(["add", "remove", "replicas"]),
        pick: random.uint32(),
      };
    case "upkeep":
      return { atMs, kind: "scratch", pages: random.between(1, 40), forMs };
    case "metadata-trouble":
    case "clock-drift":
    case "full":
      return null;
  }
}
