// A large cluster's life, measured: nothing happens; a rack joins; a rack is lost for good; peers are drained. The same size and seed give the same figures.

import type { PeerId } from "#model";
import type { Ring } from "#ring";
import { movement, sampleRefs } from "#ring";
import type { MeterReading } from "./meter.ts";
import { combine, noReading } from "./meter.ts";
import { ScaleCluster } from "./scale-cluster.ts";
import type { ScalePeer } from "./scale-peer.ts";
import type { ScaleSize } from "./size.ts";

/** What a kind of request cost in a phase. */
export interface ScaleLoad extends MeterReading {
  readonly what: string;
}

export interface ScalePhase {
  readonly name: string;
  readonly durationMs: number;
  readonly peers: number;
  /** Until every copy the ring wants was there; null when none was missing. */
  readonly copiedMs: number | null;
  /** Until the old ring was let go; null where the ring did not change. */
  readonly settledMs: number | null;
  /** Ring versions that were made. */
  readonly rings: number;
  readonly movedBytes: number;
  /** The least that any placement would have to move for the same balance. */
  readonly idealBytes: number;
  /** What the peer that got most was sent. */
  readonly gotBytesMax: number;
  /** Copies that the ring wants and that were not there at the end. */
  readonly missingCopies: number;
  /** Blocks of which nobody alive has a copy. */
  readonly lostBlocks: number;
  readonly loads: readonly ScaleLoad[];
}

export interface ScaleReport {
  readonly size: ScaleSize;
  readonly volumeBytes: number;
  readonly writtenVolumes: number;
  readonly inodeBytes: number;
  /** All metadata, as one peer reads it. */
  readonly metadataBytes: number;
  readonly ringBytes: number;
  /** The fullest peer over the mean, by what a large number of blocks would place. */
  readonly balance: number;
  /** Copies that would move when a rack joins, over the ideal. */
  readonly movement: number;
  readonly phases: readonly ScalePhase[];
}

const stepMs = 5000;
const phaseMsMax = 6 * 3_600_000;
/** With fewer, the fullest would be so by chance. */
const balanceBlocksMin = 100_000;
const balanceBlocksPerPeer = 4000;
const movementBlocks = 20_000;

export async function runScale(
  size: ScaleSize,
  say: (line: string) => void = () => {},
): Promise<ScaleReport> {
  const cluster = new ScaleCluster(size);
  say(`making ${size.peers} peers and ${size.volumes} volumes`);
  await cluster.setUp();
  const before = cluster.ring;
  const perRack = Math.ceil(size.peers / size.racks);
  const snapshot = await cluster.clock.run(cluster.snapshot());
  // What is read at the start is no measure of what is read later.
  await cluster.clock.advance(size.steadyMs / 2);
  const phases: ScalePhase[] = [];
  const phase = async (name: string, act: () => Promise<readonly ScalePeer[]>): Promise<void> => {
    say(name);
    phases.push(await measure(cluster, name, act));
  };
  await phase("steady", async () => {
    await cluster.clock.advance(size.steadyMs);
    return [];
  });
  await phase("a rack joins", () => cluster.join(perRack));
  const joined = cluster.ring;
  await phase("a rack is lost", async () => cluster.loseRack("r0"));
  await phase("peers are drained", () => cluster.drain(Math.max(1, Math.round(perRack / 5))));
  const moved = movement(before, joined, sampleRefs(movementBlocks));
  return {
    size,
    volumeBytes: Math.round(cluster.volumes.volumeBytes),
    writtenVolumes: cluster.volumes.written,
    inodeBytes: cluster.volumes.inode.bytes,
    metadataBytes: snapshot.bytes,
    ringBytes: JSON.stringify(snapshot.ring).length,
    balance: balanceOf(before),
    movement: moved.share / (perRack / (size.peers + perRack)),
    phases,
  };
}

/** `act` resolves with the peers that come or go by it: none when the ring does not change. */
async function measure(
  cluster: ScaleCluster,
  name: string,
  act: () => Promise<readonly ScalePeer[]>,
): Promise<ScalePhase> {
  const { clock, meter, blocks, movedBytes } = cluster;
  const { version } = cluster.ring;
  const startedMs = clock.monotonicMs();
  const readings = meter.readings();
  const got = new Map(cluster.peers.map((peer) => [peer, peer.gotBytes]));
  const held = new Map(cluster.peers.map((peer) => [peer, peer.store.usedBytes]));
  const moving = await act();
  const copiedMs = moving.length === 0 ? null : await settle(cluster, version, startedMs);
  const durationMs = clock.monotonicMs() - startedMs;
  return {
    name,
    durationMs,
    peers: cluster.alive.length,
    copiedMs,
    settledMs: moving.length === 0 ? null : durationMs,
    rings: cluster.ring.version - version,
    movedBytes: cluster.movedBytes - movedBytes,
    idealBytes: idealOf(cluster, moving, held),
    gotBytesMax: Math.max(...cluster.peers.map((peer) => peer.gotBytes - (got.get(peer) ?? 0))),
    missingCopies: blocks.missing,
    lostBlocks: cluster.lost(),
    loads: [...meter.readings()].map(([what, reading]) => ({
      what,
      ...combine(reading, readings.get(what) ?? noReading, -1),
    })),
  };
}

/** Waits until a ring after `version` is in force, no union, with all copies in place. Returns when they were, after `startedMs`. */
async function settle(cluster: ScaleCluster, version: number, startedMs: number): Promise<number | null> {
  const { clock, blocks } = cluster;
  let copiedMs: number | null = null;
  while (clock.monotonicMs() - startedMs < phaseMsMax) {
    const isChanged = cluster.ring.version !== version;
    if (!isChanged || blocks.missing > 0) copiedMs = null;
    else {
      copiedMs ??= clock.monotonicMs() - startedMs;
      if (cluster.ring.type !== "union") break;
    }
    await clock.advance(stepMs);
  }
  return copiedMs;
}

/** What peers that went had, or what those that came should have by their share of all. */
function idealOf(
  cluster: ScaleCluster,
  moving: readonly ScalePeer[],
  held: ReadonlyMap<ScalePeer, number>,
): number {
  const went = moving.filter((peer) => held.has(peer));
  if (went.length > 0) return went.reduce((sum, peer) => sum + (held.get(peer) ?? 0), 0);
  const bytes = [...held.values()].reduce((sum, each) => sum + each, 0);
  return Math.round((bytes * moving.length) / Math.max(1, cluster.ring.members.length));
}

/** The fullest peer over the mean. */
function balanceOf(ring: Ring): number {
  const counts = new Map<PeerId, number>();
  const balanceBlocks = Math.max(balanceBlocksMin, ring.members.length * balanceBlocksPerPeer);
  for (const ref of sampleRefs(balanceBlocks))
    for (const peer of ring.holders(ref)) counts.set(peer, (counts.get(peer) ?? 0) + 1);
  return (Math.max(...counts.values()) * ring.members.length) / (balanceBlocks * ring.replicas);
}
