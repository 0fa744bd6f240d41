// Faults: makes the events of a plan happen, and takes them back when their time is over, or all at once when the run calms down.

import { isTorusError, messageOf, pageBytes } from "#model";
import type { RingDescription, RingMember } from "#ring";
import { addMembers, removeMembers, setReplicas } from "#ring";
import type { SimCluster } from "./cluster.ts";
import type { FaultEvent } from "./plan.ts";

const dataFileName = "blocks.torus";

export class Faults {
  readonly #cluster: SimCluster;
  #calm = false;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  schedule(events: readonly FaultEvent[]): void {
    const { clock } = this.#cluster.world;
    for (const event of events) {
      clock.setTimer(Math.max(0, event.atMs - clock.monotonicMs()), () => {
        if (this.#calm) return;
        this.#cluster.world.trace.add("fault", JSON.stringify(event));
        this.#begin(event);
      });
    }
  }

  /** Nothing goes wrong from now on, and what did is put right. */
  calm(): void {
    this.#calm = true;
    const { world, metadata, peers, clients } = this.#cluster;
    world.trace.add("fault", "all calm");
    world.network.healAll();
    metadata.calm();
    for (const peer of peers) peer.calm();
    for (const client of clients) if (client.clock.stopped) client.proceed();
  }

  #begin(event: FaultEvent): void {
    const { world, metadata, clients, models } = this.#cluster;
    const { network } = world;
    switch (event.kind) {
      case "crash":
        this.#crash(event.who, event.power, event.forMs);
        return;
      case "blackout":
        for (const machine of [...this.#cluster.peers, ...(event.clients ? clients : [])])
          this.#crash(machine.name, true, event.forMs);
        return;
      case "part":
        network.part(event.a, event.b, { oneWay: event.oneWay });
        this.#later(event.forMs, () => network.heal(event.a, event.b));
        return;
      case "metadata-down":
        metadata.setDown(true);
        this.#later(event.forMs, () => metadata.setDown(false));
        return;
      case "reset":
        network.reset(event.a, event.b);
        return;
      case "slow":
        network.slow(event.a, event.b, event.extraMs);
        this.#later(event.forMs, () => network.slow(event.a, event.b, 0));
        return;
      case "pause":
        this.#pause(event.who, event.forMs);
        return;
      case "wall-jump":
        clients.find(({ name }) => name === event.who)?.jumpWall(event.byMs);
        return;
      case "sync-error":
        this.#cluster.peer(event.who).drive.failDataSyncs(1);
        return;
      case "rot":
        this.#rot(event.who, event.place);
        return;
      case "takeover":
        clients.find(({ name }) => name === event.who)?.takeOver(models[event.volume % models.length]);
        return;
      case "ring":
        void this.#changeRing((current) => this.#nextRing(current, event));
        return;
      case "ring-members": {
        const members = event.members.map((name) => this.#cluster.member(this.#cluster.peer(name)));
        void this.#changeRing((current) => withMembers(current, members));
        return;
      }
      case "scratch":
        this.#cluster.scratch.begin(event);
        return;
    }
  }

  #later(afterMs: number, undo: () => void): void {
    this.#cluster.world.clock.setTimer(afterMs, () => {
      if (!this.#calm) undo();
    });
  }

  #crash(who: string, power: boolean, forMs: number): void {
    const machine = this.#cluster.machine(who);
    machine.crash(power);
    this.#later(forMs, () => {
      if (!machine.clock.alive) void machine.start();
    });
  }

  #pause(who: string, forMs: number): void {
    const machine = this.#cluster.machine(who);
    const { clock } = machine;
    if (!clock.alive || clock.stopped) return;
    machine.stop();
    this.#later(forMs, () => {
      if (machine.clock === clock && clock.alive) machine.proceed();
    });
  }

  /** Flips a bit of a byte that is in use. */
  #rot(who: string, place: number): void {
    const peer = this.#cluster.peer(who);
    const { drive } = peer;
    const sizeBytes = drive.sizeOf(dataFileName);
    const pages = Math.floor(sizeBytes / pageBytes);
    for (let i = 0; i < pages; i++) {
      // The first pages are segment headers and tables, which rot is not about here.
      const page = (place + i * 7919) % pages;
      const bytes = drive.peek(dataFileName, page * pageBytes, pageBytes);
      if (page < 4 || bytes.every((byte) => byte === 0)) continue;
      peer.isRotten = true;
      drive.rot(dataFileName, page * pageBytes + (place % pageBytes), 1 << (place % 8));
      return;
    }
  }

  async #changeRing(nextOf: (current: RingDescription) => RingDescription | null): Promise<void> {
    const { world, admin } = this.#cluster;
    try {
      const current = await admin.rings.current();
      const next = nextOf(current);
      if (next !== null) await admin.rings.change(current, next);
    } catch (error) {
      if (!isTorusError(error)) throw error;
      world.trace.add("fault", `the ring did not change: ${messageOf(error)}`);
    }
  }

  #nextRing(current: RingDescription, event: FaultEvent & { kind: "ring" }): RingDescription | null {
    const { peers } = this.#cluster;
    const plain = current.parts?.new ?? current;
    const inRing = plain.members.map(({ peer }) => peer);
    const outside = peers.filter(({ id }) => !inRing.includes(id));
    switch (event.change) {
      case "add":
        return outside.length === 0
          ? null
          : addMembers(current, [this.#cluster.member(outside[event.pick % outside.length])]);
      case "remove":
        return inRing.length <= plain.replicas
          ? null
          : removeMembers(current, [inRing[event.pick % inRing.length]]);
      case "replicas":
        return setReplicas(current, 2 + (event.pick % 2));
    }
  }
}

/** The next ring, of exactly these members. */
function withMembers(current: RingDescription, members: readonly RingMember[]): RingDescription {
  return { ...(current.parts?.new ?? current), version: current.version + 1, members };
}
