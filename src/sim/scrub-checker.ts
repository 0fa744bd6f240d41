// ScrubChecker: whether what rots is made whole again. Peers that keep themselves up look at every sealed block they keep within the scrub period. So once
// all is calm some more bits rot, of what is needed for sure, and then no needed copy may stay damaged of which another peer has a whole one. That
// none was replaced by something worse the comparison of all copies at the end tells: they are one content, and whole.

import { blockRefKey } from "#model";
import type { SimCluster } from "./cluster.ts";
import type { Faults } from "./faults.ts";
import { sealedCopies } from "./witness.ts";

const strikes = 8;
const lookEveryMs = 1000;
/** Until every peer has looked at all it keeps, and tried again what could not be repaired at first. */
const roundsMax = 3;
const retryMs = 60_000;

interface Findings {
  /** A damaged copy that should be repaired, in words; null when there is none. */
  readonly left: string | null;
  /** Copies that rotted and are whole. */
  readonly repaired: number;
}

export class ScrubChecker {
  readonly #cluster: SimCluster;
  readonly #faults: Faults;

  constructor(cluster: SimCluster, faults: Faults) {
    this.#cluster = cluster;
    this.#faults = faults;
  }

  /** When all is calm and what is dead is collected. `pass` lets time pass; true when something was found wrong. */
  async run(pass: (ms: number) => Promise<boolean>): Promise<boolean> {
    const { world, plan } = this.#cluster;
    const { upkeep, kinds } = plan;
    if (upkeep === null || !kinds.includes("rot") || upkeep.scrubPeriodMs > retryMs) return false;
    await world.clock.run(this.#rot());
    const beganMs = world.clock.monotonicMs();
    const endMs = beganMs + roundsMax * upkeep.scrubPeriodMs + retryMs;
    let found = await world.clock.run(this.#look());
    while (found.left !== null && world.clock.monotonicMs() < endMs) {
      if (await pass(lookEveryMs)) return true;
      found = await world.clock.run(this.#look());
    }
    const tookMs = Math.round(world.clock.monotonicMs() - beganMs);
    if (found.left !== null)
      world.violate("what rots is repaired", `${found.left}, ${tookMs} ms after it rotted`);
    world.trace.add("checker", `${found.repaired} copies that rotted are whole after ${tookMs} ms`);
    return world.violation !== null;
  }

  async #rot(): Promise<void> {
    const { world, peers } = this.#cluster;
    const random = world.random("rot when all is calm");
    for (let i = 0; i < strikes; i++) await this.#faults.rot(random.pick(peers).name, false, random.uint32());
  }

  /** At all peers, as their disks are now. */
  async #look(): Promise<Findings> {
    const needed = await this.#cluster.space.needed();
    if (needed === null) return { left: "INodes cannot be read", repaired: 0 };
    const whole = new Set<string>();
    const damaged: { readonly key: string; readonly name: string }[] = [];
    let repaired = 0;
    for (const { store, name, rotten } of this.#cluster.peers) {
      for (const { ref, isWhole } of store === null ? [] : await sealedCopies(store)) {
        const key = blockRefKey(ref);
        if (isWhole) whole.add(key);
        else damaged.push({ key, name });
        if (isWhole && rotten.has(key)) repaired += 1;
      }
    }
    const found = damaged.find(({ key }) => needed.has(key) && whole.has(key));
    const left = found === undefined ? null : `${found.name} still has a damaged copy of block ${found.key}`;
    return { left, repaired };
  }
}
