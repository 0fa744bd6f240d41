// Failure domains: chooses, from peers in order of preference, those that hold the copies, so that no two share the
// widest domain (zone, then rack, then host) that can be avoided. Greedy: each next copy goes to the zone with the
// fewest copies so far, within it to the rack with the fewest, then the host, then by preference. Counting (rather
// than only asking whether a zone is used) keeps four copies over two zones at two and two.
//
// Labels are nested: rack "1" of zone "a" is not rack "1" of zone "b". Peers without a label share one domain of
// that kind, since nobody knows what they share.

import type { RingMember } from "./ring.ts";
import { failureDomains } from "./ring.ts";

export class DomainSpread {
  /** Per kind of domain that tells peers apart, widest first: the domain of each peer, numbered. */
  readonly #domainOf: Int32Array[] = [];
  readonly #counts: Int32Array[] = [];

  constructor(members: readonly RingMember[]) {
    let paths = members.map(() => "");
    for (const kind of failureDomains) {
      paths = paths.map((path, i) => JSON.stringify([path, members[i].labels[kind] ?? null]));
      const numbers = new Map<string, number>();
      for (const path of paths) if (!numbers.has(path)) numbers.set(path, numbers.size);
      // One domain for all, or one for each peer, changes no choice.
      if (numbers.size === 1 || numbers.size === members.length) continue;
      this.#domainOf.push(Int32Array.from(paths, (path) => numbers.get(path)!));
      this.#counts.push(new Int32Array(numbers.size));
    }
  }

  /** Reorders `order` (indexes of peers, preferred first) so that its first `replicas` are spread; the rest keep their order. */
  spread(order: Int32Array, replicas: number): void {
    if (this.#domainOf.length === 0) return;
    this.begin();
    const chosen = Math.min(replicas, order.length);
    for (let at = 0; at < chosen; at++) {
      const best = this.#leastShared(order, at);
      const peer = order[best];
      order.copyWithin(at + 1, at, best);
      order[at] = peer;
      this.#take(peer);
    }
  }

  /** No copies have been given out. */
  begin(): void {
    for (const counts of this.#counts) counts.fill(0);
  }

  /** The peer that the next copy goes to, of those whose cost is finite, and counts it: what `spread` of them by cost would choose. */
  cheapest(costs: Float64Array): number {
    let best = 0;
    for (let peer = 1; peer < costs.length; peer++) {
      if (costs[peer] === Number.POSITIVE_INFINITY) continue;
      const difference = costs[best] === Number.POSITIVE_INFINITY ? -1 : this.#compare(peer, best);
      if (difference < 0 || (difference === 0 && costs[peer] < costs[best])) best = peer;
    }
    this.#take(best);
    return best;
  }

  #take(peer: number): void {
    for (let level = 0; level < this.#domainOf.length; level++)
      this.#counts[level][this.#domainOf[level][peer]] += 1;
  }

  /** Position, from `from` on, of the peer whose domains hold the fewest copies, widest domain first. */
  #leastShared(order: Int32Array, from: number): number {
    let best = from;
    for (let at = from + 1; at < order.length; at++) if (this.#compare(order[at], order[best]) < 0) best = at;
    return best;
  }

  /** Below zero when `peer` shares its domains with fewer copies than `other`. */
  #compare(peer: number, other: number): number {
    for (let level = 0; level < this.#domainOf.length; level++) {
      const domainOf = this.#domainOf[level];
      const difference = this.#counts[level][domainOf[peer]] - this.#counts[level][domainOf[other]];
      if (difference !== 0) return difference;
    }
    return 0;
  }
}
