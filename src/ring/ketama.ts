// The ketama ring (consistent hashing): each peer stands at many points of a circle, in proportion to its weight; a
// block starts at its own point and takes the peers in the order it meets them. Every peer has at least one point,
// so that none is unreachable however small. Balance is about 3 % with 1,024 points a peer of mean weight.

import type { BlockRef, PeerId } from "#model";
import { describeRing, sortedByPeer } from "./describe.ts";
import { hashPeer, hashRef, newHashWords } from "./hash.ts";
import type { Ring, RingDescription, RingMember } from "./ring.ts";

const pointsPerMeanPeer = 1024;
/** Above this many points in all, peers get fewer each (halved as often as needed). */
const ringPointsMax = 2 ** 20;
/** A point is hash * 2^14 + index of the peer, in one double: sorts as a number. */
const peerIndexes = 2 ** 14;

function pointsOf(members: readonly RingMember[]): Float64Array {
  let perMean = pointsPerMeanPeer;
  while (perMean * members.length > ringPointsMax) perMean /= 2;
  const mean = members.reduce((sum, member) => sum + member.weight, 0) / members.length;
  const counts = members.map((member) => Math.max(1, Math.floor((member.weight / mean) * perMean)));
  const points = new Float64Array(counts.reduce((sum, count) => sum + count, 0));
  const words = newHashWords();
  let filled = 0;
  members.forEach((member, index) => {
    for (let point = 0; point < counts[index]; point++) {
      hashPeer(member.peer, point, words);
      points[filled++] = (words[0] >>> 0) * peerIndexes + index;
    }
  });
  return points.sort();
}

export class KetamaRing implements Ring {
  readonly type = "ketama";
  readonly version: number;
  readonly replicas: number;
  readonly members: readonly RingMember[];
  readonly #description: RingDescription;
  readonly #peers: readonly PeerId[];
  readonly #points: Float64Array;
  readonly #words = newHashWords();

  constructor(description: RingDescription) {
    this.version = description.version;
    this.replicas = description.replicas;
    this.members = description.members;
    this.#description = description;
    const members = sortedByPeer(description.members);
    this.#peers = members.map((member) => member.peer);
    this.#points = pointsOf(members);
  }

  permutation(ref: BlockRef): PeerId[] {
    const count = this.#peers.length;
    const points = this.#points;
    const taken = new Uint8Array(count);
    const order: PeerId[] = [];
    let at = this.#firstPointFrom(ref);
    while (order.length < count) {
      if (at === points.length) at = 0;
      const index = points[at++] % peerIndexes;
      if (taken[index] === 1) continue;
      taken[index] = 1;
      order.push(this.#peers[index]);
    }
    return order;
  }

  /** Index of the first point at or after the block's own (binary search). */
  #firstPointFrom(ref: BlockRef): number {
    hashRef(ref, this.#words);
    const own = (this.#words[0] >>> 0) * peerIndexes;
    let low = 0;
    let high = this.#points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#points[middle] < own) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  holders(ref: BlockRef): PeerId[] {
    return this.permutation(ref).slice(0, this.replicas);
  }

  describe(): string {
    return describeRing(this);
  }

  toDescription(): RingDescription {
    return this.#description;
  }
}
