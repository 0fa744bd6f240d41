// What a peer remembers of the metadata service, and the seam it is asked through. The metadata decides over all data, so
// metadata that goes back (an etcd restored from a backup) could give out epochs and volume ids a second time and make blocks
// look dead that are needed [C7]. Peers are the witnesses: each keeps durably the highest it has seen, refuses to change
// anything under metadata that is behind that, and says what it knows when an operator adopts the metadata there is.

import type { Epoch, VolumeId } from "./block-ref.ts";
import type { PeerId } from "./block-store.ts";
import { TorusError } from "./errors.ts";

/** The metadata as somebody saw it at one revision. */
export interface MetadataView {
  readonly clusterId: string;
  /** Of the store behind the metadata service: of an etcd its cluster id, which a restore changes. */
  readonly identity: string;
  /** How often metadata was adopted: with a higher one, another identity and a lower revision are in order. */
  readonly generation: number;
  readonly revision: number;
  readonly ringVersion: number;
  /** The minter's: no volume had a higher id. */
  readonly lastVolumeId: VolumeId;
}

/** What a store has of one volume. */
export interface VolumeTrace {
  readonly volume: VolumeId;
  /** The highest it was fenced for or holds a block of. */
  readonly epoch: Epoch;
  readonly blocks: number;
}

/** One page of what a store can tell. */
export interface Testimony {
  /** The highest it has seen of the metadata; null for a store that never saw any. */
  readonly view: MetadataView | null;
  /** Why it refuses the metadata it was shown last, "" while it does not. */
  readonly behind: string;
  /** The time (wall clock, milliseconds since 1970) until which that metadata has everything, as far as the store can tell; 0 when it cannot. */
  readonly asOfMs: number;
  /** By volume. */
  readonly volumes: readonly VolumeTrace[];
  /** Pass as `after` for the next page; null at the end. */
  readonly next: VolumeId | null;
}

/** A store that remembers the metadata. Asked over the network by whoever adopts metadata. */
export interface StoreWitness {
  readonly peer: PeerId;
  /** Volumes above `after` (0 for all), at most `limit` of them. */
  testify(after: VolumeId, limit: number): Promise<Testimony>;
}

/** Why metadata that looks like `seen` is behind what was known of it, "" when it is not. */
export function judgeView(known: MetadataView, seen: MetadataView): string {
  if (seen.clusterId !== known.clusterId)
    return `it is of cluster ${seen.clusterId}, not of cluster ${known.clusterId}`;
  if (seen.generation < known.generation)
    return `it was adopted ${seen.generation} times, and ${known.generation} times are known`;
  // An adoption raises these above what every peer reports; who was not asked then still knows better.
  if (seen.lastVolumeId < known.lastVolumeId)
    return `it gave out volume ids up to ${seen.lastVolumeId}, and ${known.lastVolumeId} was given out already`;
  if (seen.ringVersion < known.ringVersion)
    return `its ring is version ${seen.ringVersion}, and version ${known.ringVersion} was in force already`;
  if (seen.generation > known.generation) return "";
  if (seen.identity !== known.identity)
    return `it is kept by ${seen.identity}, no longer by ${known.identity}`;
  if (seen.revision < known.revision)
    return `it is at revision ${seen.revision}, and was at ${known.revision} before`;
  return "";
}

/** What everybody says who meets metadata that went back. */
export function metadataBehind(reason: string): TorusError {
  return new TorusError(
    "metadata-behind",
    `the metadata went back: ${reason}. Nothing is changed until it is adopted: put newer metadata back if there is any, then see torusctl metadata adopt --help`,
  );
}

/**
 * What a store says that has seen `seen`, to somebody who decided by less: metadata that went back, or only that he read before the store
 * did. `viewSeenIn` tells him what to compare a new read with.
 */
export function metadataBehindSeen(reason: string, seen: MetadataView): TorusError {
  const { code, message } = metadataBehind(reason);
  return new TorusError(code, message, { reason, ...seen });
}

/** What a store says that took records of an epoch which has served, to somebody whose head is older. That is proof. */
export function metadataBehindServed(volume: VolumeId, headEpoch: Epoch, servedEpoch: Epoch): TorusError {
  const reason = `volume ${volume} has a head of epoch ${headEpoch} in it, and was served in epoch ${servedEpoch} already`;
  const { code, message } = metadataBehind(reason);
  return new TorusError(code, message, { reason, servedEpoch });
}

/** The view in the details of a refusal; null when it was not for that. */
export function viewSeenIn({ details }: TorusError): MetadataView | null {
  const { clusterId, identity, generation, revision, ringVersion, lastVolumeId } = details;
  if (typeof clusterId !== "string" || typeof identity !== "string") return null;
  const numbers = [generation, revision, ringVersion, lastVolumeId];
  if (!numbers.every((value) => typeof value === "number")) return null;
  const [g, r, v, i] = numbers;
  return { clusterId, identity, generation: g, revision: r, ringVersion: v, lastVolumeId: i };
}

/** Volumes in one page. */
const pageVolumes = 4096;

/** All pages as one; `next` is null. */
export async function testifyWhole(store: StoreWitness): Promise<Testimony> {
  const first = await store.testify(0, pageVolumes);
  const volumes = [...first.volumes];
  for (let { next } = first; next !== null; ) {
    const page: Testimony = await store.testify(next, pageVolumes);
    if (page.next !== null && page.next <= next)
      throw new TorusError("protocol", `peer ${store.peer} goes round in circles listing its volumes`);
    volumes.push(...page.volumes);
    next = page.next;
  }
  return { ...first, volumes, next: null };
}
