// The rendezvous ring, the default: weighted highest-random-weight hashing over failure domains. Every peer draws,
// for every block, an exponentially distributed cost divided by its weight, from a hash of (peer, block); peers are
// taken by cost. So each gets blocks in proportion to its weight, and when a peer comes or goes only the blocks it
// gains or held move. (Thaler & Ravishankar 1998; the weighting is Schindelhauer & Schomaker's logarithmic method.)
// Proportion yields to domains where they compete: one zone of three holds a third of all copies, however small.
//
// Cost of a permutation: one hash a peer and a sort; nothing is allocated but the result. The holders alone need no sort: of 500
// peers in 20 racks they take a quarter of the time that the whole order takes.

import type { BlockRef, PeerId } from "#model";
import { describeRing, sortedByPeer } from "./describe.ts";
import { DomainSpread } from "./domains.ts";
import { exponentialOf, hashPeer, hashRef, newHashWords } from "./hash.ts";
import type { Ring, RingDescription, RingMember } from "./ring.ts";

/** Insertion sort wins below. */
const insertionSortMax = 48;

export class RendezvousRing implements Ring {
  readonly type = "rendezvous";
  readonly version: number;
  readonly replicas: number;
  readonly members: readonly RingMember[];
  readonly #description: RingDescription;
  /** By id, so that equal costs are decided alike everywhere. */
  readonly #peers: readonly PeerId[];
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  readonly #perWeight: Float64Array;
  readonly #domains: DomainSpread;
  readonly #words = newHashWords();
  readonly #costs: Float64Array;
  readonly #order: Int32Array;

  constructor(description: RingDescription) {
    this.version = description.version;
    this.replicas = description.replicas;
    this.members = description.members;
    this.#description = description;
    const members = sortedByPeer(description.members);
    this.#peers = members.map((member) => member.peer);
    this.#low = new Int32Array(members.length);
    this.#high = new Int32Array(members.length);
    members.forEach((member, i) => {
      hashPeer(member.peer, 0, this.#words);
      this.#low[i] = this.#words[0];
      this.#high[i] = this.#words[1];
    });
    this.#perWeight = Float64Array.from(members, (member) => 1 / member.weight);
    this.#domains = new DomainSpread(members);
    this.#costs = new Float64Array(members.length);
    this.#order = new Int32Array(members.length);
  }

  permutation(ref: BlockRef): PeerId[] {
    this.#drawCosts(ref);
    if (this.#order.length <= insertionSortMax) this.#insertionSort();
    else this.#sort();
    this.#domains.spread(this.#order, this.replicas);
    const peers: PeerId[] = new Array(this.#order.length);
    for (let i = 0; i < peers.length; i++) peers[i] = this.#peers[this.#order[i]];
    return peers;
  }

  holders(ref: BlockRef): PeerId[] {
    this.#drawCosts(ref);
    const costs = this.#costs;
    const holders: PeerId[] = [];
    this.#domains.begin();
    for (const count = Math.min(this.replicas, costs.length); holders.length < count; ) {
      const best = this.#domains.cheapest(costs);
      // Taken: nobody draws so much.
      costs[best] = Number.POSITIVE_INFINITY;
      holders.push(this.#peers[best]);
    }
    return holders;
  }

  #drawCosts(ref: BlockRef): void {
    hashRef(ref, this.#words);
    const low = this.#words[0];
    const high = this.#words[1];
    for (let i = 0; i < this.#costs.length; i++) {
      this.#costs[i] = exponentialOf(this.#low[i], this.#high[i], low, high) * this.#perWeight[i];
    }
  }

  #insertionSort(): void {
    const order = this.#order;
    const costs = this.#costs;
    for (let i = 0; i < order.length; i++) {
      const cost = costs[i];
      let at = i;
      while (at > 0 && costs[order[at - 1]] > cost) {
        order[at] = order[at - 1];
        at -= 1;
      }
      order[at] = i;
    }
  }

  #sort(): void {
    const costs = this.#costs;
    for (let i = 0; i < this.#order.length; i++) this.#order[i] = i;
    this.#order.sort((a, b) => costs[a] - costs[b] || a - b);
  }

  describe(): string {
    return describeRing(this);
  }

  toDescription(): RingDescription {
    return this.#description;
  }
}
