// What adopting the metadata there is would change: from the metadata at one revision and what every peer can tell, which epochs, ids and
// versions must rise so that none is ever used a second time [C7]. Pure; adoption.ts carries it out.

import type { Epoch, MetadataView, PeerId, Testimony, VolumeId } from "#model";
import { judgeView } from "#model";
import type { ClusterSnapshot } from "./cluster.ts";

/** All that a peer told; `next` of no importance any more. */
export interface PeerTestimony extends Omit<Testimony, "next"> {
  readonly peer: PeerId;
}

export interface VolumeRise {
  readonly id: VolumeId;
  readonly name: string;
  readonly fromEpoch: Epoch;
  readonly toEpoch: Epoch;
  /** The highest any peer has; 0 for none. Above `fromEpoch`: the volume was attached in what this metadata does not know. */
  readonly knownEpoch: Epoch;
  /** Of its head, 0 without one: nothing that later epochs wrote is in it, nor replayed. */
  readonly headEpoch: Epoch;
}

/** A volume that peers have blocks of and the metadata knows nothing about. */
export interface UnknownVolume {
  readonly id: VolumeId;
  readonly epoch: Epoch;
  readonly blocks: number;
  readonly peers: readonly PeerId[];
}

export interface Rise {
  readonly from: number;
  readonly to: number;
}

export interface AdoptionPlan {
  /** The metadata is behind what some peer has seen, or somebody said so. */
  readonly isNeeded: boolean;
  /** Why, as peers and metadata say. */
  readonly reasons: readonly string[];
  readonly generation: Rise;
  readonly minter: Rise;
  readonly ring: Rise;
  /** By name. */
  readonly volumes: readonly VolumeRise[];
  readonly unknown: readonly UnknownVolume[];
  /** Until when the metadata has everything, as far as the peers can tell; 0 when they cannot. */
  readonly asOfMs: number;
}

/**
 * Peers that run keep in memory which rings there are, and tell what they have written down when they last looked: the newest may be missing in that. A
 * version that is given out again would be another ring to them. So many rings are not made within seconds.
 */
const ringsUnseenMax = 1000;

export function planAdoption(
  snapshot: ClusterSnapshot,
  current: MetadataView,
  alarm: string,
  testimonies: readonly PeerTestimony[],
): AdoptionPlan {
  const views = testimonies.flatMap(({ view }) => (view === null ? [] : [view]));
  const known = highestEpochs(testimonies);
  const ids = [...snapshot.volumes.keys(), ...snapshot.tombstones.keys(), ...known.keys()];
  const lastVolumeId = highest(snapshot.lastVolumeId, [...views.map((view) => view.lastVolumeId), ...ids]);
  const generation = highest(
    current.generation,
    views.map((view) => view.generation),
  );
  const ringVersion = highest(
    snapshot.ringVersion,
    views.map((view) => view.ringVersion),
  );
  const volumes = [...snapshot.volumes.values()].map(({ spec, writer, head }): VolumeRise => {
    const knownEpoch = known.get(spec.id) ?? 0;
    const toEpoch = Math.max(writer.epoch, knownEpoch) + 1;
    const headEpoch = head?.epoch ?? 0;
    return { id: spec.id, name: spec.name, fromEpoch: writer.epoch, toEpoch, knownEpoch, headEpoch };
  });
  volumes.sort((a, b) => (a.name < b.name ? -1 : 1));
  const reasons = reasonsOf(current, alarm, testimonies, volumes);
  const asOf = testimonies.map(({ asOfMs }) => asOfMs).filter((asOfMs) => asOfMs > 0);
  return {
    isNeeded: reasons.length > 0,
    reasons,
    generation: { from: current.generation, to: generation + 1 },
    minter: { from: snapshot.lastVolumeId, to: lastVolumeId },
    ring: { from: snapshot.ringVersion, to: ringVersion + ringsUnseenMax },
    volumes,
    unknown: unknownVolumes(snapshot, testimonies),
    asOfMs: asOf.length === 0 ? 0 : Math.min(...asOf),
  };
}

function reasonsOf(
  current: MetadataView,
  alarm: string,
  testimonies: readonly PeerTestimony[],
  volumes: readonly VolumeRise[],
): string[] {
  const reasons = alarm === "" ? [] : [alarm];
  for (const { peer, view, behind } of testimonies) {
    const reason = behind || (view === null ? "" : judgeView(view, current));
    if (reason !== "") reasons.push(`peer ${peer}: ${reason}`);
  }
  for (const { name, fromEpoch, knownEpoch } of volumes) {
    if (knownEpoch > fromEpoch)
      reasons.push(`volume "${name}" is at epoch ${fromEpoch}, and peers have epoch ${knownEpoch}`);
  }
  return reasons;
}

function highestEpochs(testimonies: readonly PeerTestimony[]): Map<VolumeId, Epoch> {
  const epochs = new Map<VolumeId, Epoch>();
  for (const { volumes } of testimonies) {
    for (const { volume, epoch } of volumes) epochs.set(volume, Math.max(epoch, epochs.get(volume) ?? 0));
  }
  return epochs;
}

function unknownVolumes(snapshot: ClusterSnapshot, testimonies: readonly PeerTestimony[]): UnknownVolume[] {
  const unknown = new Map<VolumeId, UnknownVolume>();
  for (const { peer, volumes } of testimonies) {
    for (const { volume: id, epoch, blocks } of volumes) {
      if (blocks === 0 || snapshot.volumes.has(id) || snapshot.tombstones.has(id)) continue;
      const known = unknown.get(id) ?? { id, epoch: 0, blocks: 0, peers: [] };
      unknown.set(id, {
        id,
        epoch: Math.max(epoch, known.epoch),
        blocks: blocks + known.blocks,
        peers: [...known.peers, peer],
      });
    }
  }
  return [...unknown.values()].sort((a, b) => a.id - b.id);
}

function highest(first: number, others: readonly number[]): number {
  return others.reduce((most, other) => Math.max(most, other), first);
}
