// Operator: what people do to a cluster while it works: peers join and leave the ring, the number of copies changes, a broken disk is
// replaced. They act as documented, and only where the data allows it.

import { sleep } from "#host";
import type { PeerId } from "#model";
import { isTorusError, messageOf } from "#model";
import type { RingDescription, RingMember } from "#ring";
import { addMembers, removeMembers, setReplicas } from "#ring";
import type { SimCluster } from "./cluster.ts";
import type { SimPeer } from "./peer.ts";
import type { FaultEvent } from "./plan.ts";
import { isSpare } from "./rot.ts";

const pollMs = 200;
const forgetRetryMs = 1000;

export class Operator {
  readonly #cluster: SimCluster;
  /** One change after another. */
  #turn: Promise<void> = Promise.resolve();

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  /** Makes the change of an event when those before it are made. */
  changeRing(event: FaultEvent & { kind: "ring" }): void {
    this.#inTurn("the ring did not change", async () => {
      const { admin } = this.#cluster;
      const current = await admin.rings.current();
      const next = this.#nextRing(current, event);
      if (next !== null) await admin.rings.change(current, next);
    });
  }

  /** The ring is of the machines named. */
  setMembers(names: readonly string[]): void {
    this.#inTurn("the ring did not change", async () => {
      const { admin } = this.#cluster;
      const current = await admin.rings.current();
      const members = names.map((name) => this.#cluster.member(this.#cluster.peer(name)));
      await admin.rings.change(current, withMembers(current, members));
    });
  }

  /** Takes out the disk of `peer`, if nothing is only there, and after `forMs` an empty one takes its place, in the ring too. */
  replaceDisk(peer: SimPeer, forMs: number): void {
    this.#inTurn("the disk was not replaced", async () => {
      const { admin, peers, world } = this.#cluster;
      const { members, replicas } = await plainRing(admin);
      const old = peer.id;
      const living = members.filter((member) =>
        peers.some(({ id, store }) => id === member.peer && store !== null),
      );
      if (living.length <= replicas || !(await isSpare(peer, peers))) {
        world.trace.add("operator", `leaves the disk of ${peer.name} where it is`);
        return;
      }
      peer.crash(true);
      peer.replaceDisk();
      await sleep(world.clock, forMs);
      while (peer.store === null) {
        if (!peer.isRunning) void peer.start();
        await sleep(world.clock, pollMs);
      }
      await this.#cluster.register(peer);
      const joined = await admin.rings.current();
      await admin.rings.change(joined, addMembers(joined, [this.#cluster.member(peer)]));
      const current = await admin.rings.current();
      // The others may have taken it out already, as one that is gone for long.
      if ((current.parts?.new ?? current).members.some((member) => member.peer === old))
        await admin.rings.change(current, removeMembers(current, [old]));
      void this.#forget(old);
    });
  }

  /** Forgets a peer that is gone for good, once no ring has it. */
  async #forget(peer: PeerId): Promise<void> {
    const { admin, world } = this.#cluster;
    for (;;) {
      try {
        await admin.peers.forget(peer);
        world.trace.add("operator", `forgets peer ${peer}`);
        return;
      } catch (error) {
        if (!isTorusError(error, "busy", "conflict")) {
          world.violateBy(error, "the operator forgets a peer");
          return;
        }
        await sleep(world.clock, forgetRetryMs);
      }
    }
  }

  #inTurn(failed: string, change: () => Promise<void>): void {
    const { world } = this.#cluster;
    this.#turn = this.#turn.then(change).catch((error: unknown) => {
      if (!isTorusError(error)) world.violateBy(error, "the operator");
      world.trace.add("operator", `${failed}: ${messageOf(error)}`);
    });
  }

  #nextRing(
    current: RingDescription,
    { change, pick }: FaultEvent & { kind: "ring" },
  ): RingDescription | null {
    const { peers } = this.#cluster;
    const { members, replicas } = current.parts?.new ?? current;
    const inRing = members.map(({ peer }) => peer);
    const outside = peers.filter(({ id }) => id !== "" && !inRing.includes(id));
    switch (change) {
      case "add":
        return outside.length === 0
          ? null
          : addMembers(current, [this.#cluster.member(outside[pick % outside.length])]);
      case "remove":
        return inRing.length <= replicas ? null : removeMembers(current, [inRing[pick % inRing.length]]);
      case "replicas":
        return setReplicas(current, 2 + (pick % 2));
    }
  }
}

async function plainRing(admin: SimCluster["admin"]): Promise<RingDescription> {
  const current = await admin.rings.current();
  return current.parts?.new ?? current;
}

/** The next ring, of exactly these members. */
function withMembers(current: RingDescription, members: readonly RingMember[]): RingDescription {
  return { ...(current.parts?.new ?? current), version: current.version + 1, members };
}
