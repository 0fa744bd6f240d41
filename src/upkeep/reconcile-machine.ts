// ReconcileMachine: what to do about one block of one's own, given the metadata and what other peers say they have. It decides;
// the reconciler asks, sends and deletes (docs/design.md §7).
//
// Rules that safety rests on:
// - a block that a log may still need where the logmap says stays there, whatever the ring says;
// - only a sealed copy counts, as a source and as held [C4]; an open one of an older block is as good as none;
// - a copy of one's own goes only when every desired peer has confirmed the sealed block, by the same ring version [C8];
// - copies that differ are touched by nobody.

import type { ClusterSnapshot } from "#metadata";
import type { BlockRef, BlockStatus, Confirmation, PeerId } from "#model";
import { blockType } from "#model";
import type { Ring } from "#ring";
import { createRing } from "#ring";

/**
 * log: where it lies the logmap decides. placed: where it lies the ring decides. deleted: of a deleted volume.
 * unknown: of a volume that never was, as far as the metadata says: it is not touched.
 */
export type Standing = "log" | "placed" | "deleted" | "unknown";

/** Whose say it is where `ref` lies. The block was listed before the snapshot was taken. */
export function standingOf(ref: BlockRef, snapshot: ClusterSnapshot): Standing {
  const state = snapshot.volumes.get(ref.volume);
  if (state === undefined) return snapshot.tombstones.has(ref.volume) ? "deleted" : "unknown";
  const { head } = state;
  if (head === null || ref.epoch > head.epoch) return "log";
  if (ref.epoch < head.epoch) return "placed";
  if (ref.type === blockType.data) return ref.index >= head.replayFrom ? "log" : "placed";
  if (ref.type === blockType.inode) return isRooted(ref, head.root?.ref ?? null) ? "placed" : "log";
  return "log";
}

/** INode blocks above the root are of a checkpoint that is not committed yet, or never was. */
function isRooted(ref: BlockRef, root: BlockRef | null): boolean {
  return root !== null && root.epoch === ref.epoch && ref.index <= root.index;
}

/** The peers that should hold `ref` by `ring`: of a union, by its new part. */
export function desiredPeers(ring: Ring, ref: BlockRef): PeerId[] {
  return ring.holders(ref);
}

export function isDesired(ring: Ring, ref: BlockRef, peer: PeerId): boolean {
  return desiredPeers(ring, ref).includes(peer);
}

/** The desired peers, then those that hold `ref` by the older parts of a union, newest first. */
export function placesOf(ring: Ring, ref: BlockRef, desired: readonly PeerId[]): PeerId[] {
  const places = new Set(desired);
  for (let part = ring.parts?.old; part !== undefined; part = part.parts?.old)
    for (const peer of desiredPeers(part, ref)) places.add(peer);
  return [...places];
}

/** The ring in force as of `snapshot`. */
export function ringOf(snapshot: ClusterSnapshot): Ring {
  return createRing(snapshot.ring);
}

export interface BlockCase {
  readonly self: PeerId;
  /** This peer's copy. */
  readonly own: BlockStatus;
  readonly desired: readonly PeerId[];
  /** Desired peers first; see `placesOf`. */
  readonly places: readonly PeerId[];
  /** What a peer says it has; null when it did not answer. */
  readonly answerOf: (peer: PeerId) => BlockStatus | null;
  /** Somebody before this peer should have sent it long ago. */
  readonly isImpatient: boolean;
}

export interface BlockDecision {
  readonly isOwn: boolean;
  /** Desired peers without a sealed copy, to which this peer sends its own now. */
  readonly sendTo: readonly PeerId[];
  /** Desired peers that lack it, whoever sends it. */
  readonly lacking: readonly PeerId[];
  readonly silent: readonly PeerId[];
  /** Peers with a sealed copy of another length or checksum: an alarm. */
  readonly differing: readonly PeerId[];
}

/** About a block whose place the ring decides. */
export function decideBlock(block: BlockCase): BlockDecision {
  const { self, own, desired, answerOf } = block;
  const lacking: PeerId[] = [];
  const silent: PeerId[] = [];
  const differing: PeerId[] = [];
  for (const peer of desired) {
    if (peer === self) {
      if (own.state !== "sealed") lacking.push(peer);
      continue;
    }
    const answer = answerOf(peer);
    if (answer === null) silent.push(peer);
    else if (answer.state !== "sealed") lacking.push(peer);
    else if (own.state === "sealed" && !isSameSeal(answer, own)) differing.push(peer);
  }
  const sends = own.state === "sealed" && differing.length === 0 && isSender(block);
  return {
    isOwn: desired.includes(self),
    sendTo: sends ? lacking.filter((peer) => peer !== self) : [],
    lacking,
    silent,
    differing,
  };
}

/** One holder is enough to send: the first of those that answer. A copy where no ring wants it comes last. */
function isSender({ self, own, places, answerOf, isImpatient }: BlockCase): boolean {
  if (isImpatient) return true;
  for (const peer of places) {
    if (peer === self) return true;
    const answer = answerOf(peer);
    if (answer?.state === "sealed" && isSameSeal(answer, own)) return false;
  }
  return true;
}

function isSameSeal(a: BlockStatus, b: BlockStatus): boolean {
  return a.held === b.held && a.checksum === b.checksum;
}

/**
 * remove: every desired peer has confirmed the same sealed block, and it is what this peer has, if that is sealed at all.
 * differ: they have it, and it is not the same: an alarm. Else it stays.
 */
export function judgeConfirmations(
  own: BlockStatus,
  desired: readonly PeerId[],
  confirmationOf: (peer: PeerId) => Confirmation | null,
): "remove" | "stay" | "differ" {
  const confirmed = desired.map(confirmationOf);
  if (desired.length === 0 || confirmed.some((each) => each?.verdict !== "confirmed")) return "stay";
  const [first] = confirmed as Confirmation[];
  const seal = own.state === "sealed" ? { length: own.held, checksum: own.checksum } : first;
  const same = (confirmed as Confirmation[]).every(
    ({ length, checksum }) => length === seal.length && checksum === seal.checksum,
  );
  return same ? "remove" : "differ";
}
