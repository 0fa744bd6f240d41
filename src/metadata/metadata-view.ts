// The metadata as peers compare it [C7], decoded from what was read beside whatever else was decided from, at the same revision.

import type { FenceBasis, MetadataView } from "#model";
import { TorusError } from "#model";
import { adoptionKey, clusterKey, minterKey, ringKey } from "./keys.ts";
import type { VolumeState } from "./records.ts";
import { adoptionCodec, clusterCodec, minterCodec, ringPointerCodec } from "./records-codec.ts";
import type { KeyValue, MetadataService } from "./service.ts";

export const viewRanges = [
  { key: clusterKey },
  { key: minterKey },
  { key: ringKey },
  { key: adoptionKey },
] as const;

/** `entries`: of `viewRanges`, and any others. Throws `not-found` when there is no cluster, `corrupt` when half of one. */
export function viewIn(
  service: MetadataService,
  revision: number,
  entries: ReadonlyMap<string, KeyValue>,
): MetadataView {
  const [cluster, minter, ring, adoption] = viewRanges.map(({ key }) => entries.get(key));
  if (cluster === undefined)
    throw new TorusError("not-found", `${service.url} holds no cluster: run torusctl init first`);
  if (minter === undefined || ring === undefined)
    throw new TorusError("corrupt", `${service.url} has a cluster without minter or ring: it is damaged`);
  return {
    clusterId: clusterCodec.decode(cluster.key, cluster.value).clusterId,
    identity: service.identity,
    generation: generationOf(adoption),
    revision,
    ringVersion: ringPointerCodec.decode(ring.key, ring.value).version,
    lastVolumeId: minterCodec.decode(minter.key, minter.value).lastVolumeId,
  };
}

export function generationOf(adoption: KeyValue | undefined): number {
  return adoption === undefined ? 0 : adoptionCodec.decode(adoption.key, adoption.value).generation;
}

/** What a fence says it was decided by. Head and adoption of `state` must be of the same revision as `view`. */
export function basisOf({ head, adopted }: VolumeState, view: MetadataView): FenceBasis {
  return { view, headEpoch: Math.max(head?.epoch ?? 0, adopted?.epoch ?? 0) };
}
