// Faults: makes the events of a plan happen, and takes them back when their time is over, or all at once when the run calms down.

import { isTorusError, messageOf } from "#model";
import { SimClient } from "./client.ts";
import type { SimCluster } from "./cluster.ts";
import { MetadataLoss } from "./metadata-loss.ts";
import { Operator } from "./operator.ts";
import type { FaultEvent } from "./plan.ts";
import { Rot } from "./rot.ts";

export class Faults {
  readonly #cluster: SimCluster;
  readonly #operator: Operator;
  readonly #rotting: Rot;
  readonly #losing: MetadataLoss;
  #calm = false;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#operator = new Operator(cluster);
    this.#rotting = new Rot(cluster.peers);
    this.#losing = new MetadataLoss(cluster);
  }

  /** People are still putting something right. */
  get isBusy(): boolean {
    return this.#losing.isBusy;
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
    this.#losing.calm();
    const { world, metadata, peers, clients } = this.#cluster;
    world.trace.add("fault", "all calm");
    world.network.healAll();
    metadata.calm();
    for (const peer of peers) peer.calm();
    for (const client of clients) if (client.clock.stopped) client.proceed();
  }

  #begin(event: FaultEvent): void {
    const { world, metadata, clients } = this.#cluster;
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
      case "slow-disk":
        this.#slowDisk(event.who, event.extraMs, event.forMs);
        return;
      case "pause":
        this.#pause(event.who, event.suspend, event.forMs);
        return;
      case "wall-jump":
        clients.find(({ name }) => name === event.who)?.jumpWall(event.byMs);
        return;
      case "sync-error":
        this.#cluster.peer(event.who).drive.failDataSyncs(1);
        return;
      case "rot":
        void this.rot(event.who, event.open, event.place);
        return;
      case "takeover":
        this.#takeOver(event.who, event.volume);
        return;
      default:
        this.#order(event);
        return;
    }
  }

  /** What people do. */
  #order(
    event: FaultEvent & { kind: "replace" | "ring" | "ring-members" | "scratch" | "metadata-back" },
  ): void {
    switch (event.kind) {
      case "replace":
        this.#operator.replaceDisk(this.#cluster.peer(event.who), event.forMs);
        return;
      case "ring":
        this.#operator.changeRing(event);
        return;
      case "ring-members":
        this.#operator.setMembers(event.members);
        return;
      case "scratch":
        this.#cluster.scratch.begin(event);
        return;
      case "metadata-back":
        this.#losing.begin(event);
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
      const isStopped = this.#cluster.areClientsStopped && machine instanceof SimClient;
      if (!machine.clock.alive && !isStopped) void machine.start();
    });
  }

  #slowDisk(who: string, extraMs: number, forMs: number): void {
    const peer = this.#cluster.peer(who);
    peer.slowMs = extraMs;
    this.#later(forMs, () => {
      peer.slowMs = 0;
    });
  }

  #takeOver(who: string, volume: number): void {
    const { clients, models } = this.#cluster;
    if (models.length > 0) clients.find(({ name }) => name === who)?.takeOver(models[volume % models.length]);
  }

  #pause(who: string, suspend: boolean, forMs: number): void {
    const machine = this.#cluster.machine(who);
    const { clock } = machine;
    if (!clock.alive || clock.stopped) return;
    machine.stop(suspend);
    this.#later(forMs, () => {
      if (machine.clock === clock && clock.alive) machine.proceed();
    });
  }

  /** Flips a bit of what `who` has on disk, of an open block rather if it says so, if there is one that may rot. */
  async rot(who: string, open: boolean, place: number): Promise<void> {
    const { world } = this.#cluster;
    try {
      const hit = await this.#rotting.strike(this.#cluster.peer(who), open, place);
      world.trace.add("fault", hit === null ? `${who} has nothing that may rot` : `${who} rots: ${hit}`);
    } catch (error) {
      if (!isTorusError(error)) world.violateBy(error, "rot");
      world.trace.add("fault", `${who} does not rot: ${messageOf(error)}`);
    }
  }
}
