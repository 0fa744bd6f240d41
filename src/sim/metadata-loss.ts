// MetadataLoss: backups of the metadata that are put back while peers hold what came after, and people who do what docs/operate/metadata.md
// says [C7]: stop every client, start every peer, adopt, start the clients again. Until it is adopted, nothing may be lost or
// used twice; afterwards each volume is whole as of its head there, with what its log has since unless it was attached anew, or nobody gets it.

import { sleep } from "#host";
import type { AdoptionPlan, ClusterSnapshot, StateBackup } from "#metadata";
import { planAdoption } from "#metadata";
import type { Epoch, Testimony } from "#model";
import { isTorusError, messageOf, TorusError, testifyWhole } from "#model";
import type { SimCluster } from "./cluster.ts";
import { operatorName } from "./metadata.ts";
import { lookMsMax } from "./peer-upkeep.ts";
import type { FaultEvent } from "./plan.ts";

type BackEvent = FaultEvent & { readonly kind: "metadata-back" };

/** A backup that is not put back in order comes so long after the service went away, or a lease later. */
export const backAfterMs = lookMsMax + 1000;
const retryMs = 200;
const testifyMsMax = 2000;

export class MetadataLoss {
  readonly #cluster: SimCluster;
  #turn: Promise<void> = Promise.resolve();
  #pending = 0;
  #calm = false;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  get isBusy(): boolean {
    return this.#pending > 0;
  }

  /** What has not begun does not begin any more. */
  calm(): void {
    this.#calm = true;
  }

  begin(event: BackEvent): void {
    const { world } = this.#cluster;
    this.#pending += 1;
    this.#turn = this.#turn
      .then(() => this.#lose(event))
      .catch((error: unknown) => world.violateBy(error, "metadata that went back"))
      .finally(() => {
        this.#pending -= 1;
      });
  }

  async #lose({ afterMs, forMs, inOrder, elsewhere, newest }: BackEvent): Promise<void> {
    const { world, metadata, plan } = this.#cluster;
    const backup = metadata.state.backUp();
    world.trace.add(operatorName, `makes a backup of the metadata at revision ${backup.revision}`);
    await sleep(world.clock, afterMs);
    if (this.#calm) return;
    if (inOrder) this.#stopClients();
    else {
      // It is put back after it was away: leases ran out, and peers have not seen it for long.
      metadata.setDown(true);
      await sleep(world.clock, Math.max(plan.leaseTtlMs, backAfterMs - 1000) + 1000);
    }
    const last = metadata.state.backUp();
    this.#putBack(backup, elsewhere);
    metadata.setDown(false);
    await sleep(world.clock, forMs);
    this.#stopClients();
    if (newest) this.#putBack(last, false);
    await this.#adopt(newest ? new Map() : writtenSince(backup, last), newest);
    this.#cluster.areClientsStopped = false;
    for (const client of this.#cluster.clients) if (!client.clock.alive) client.start();
  }

  #putBack(backup: StateBackup, elsewhere: boolean): void {
    const { world, metadata, epochs, space } = this.#cluster;
    world.trace.add(operatorName, `puts the metadata of revision ${backup.revision} back`);
    epochs.wentBack(backup.entries);
    space.wentBack();
    metadata.restore(backup, elsewhere);
  }

  #stopClients(): void {
    this.#cluster.areClientsStopped = true;
    for (const client of this.#cluster.clients) client.crash(false);
  }

  async #adopt(written: ReadonlyMap<string, string>, isNewest: boolean): Promise<void> {
    const { world, admin, peers, adoption, onlyIfNoticed } = this.#cluster;
    for (;;) {
      for (const peer of peers) if (!peer.isRunning) void peer.start();
      try {
        const { plan } = await this.#consult();
        // Who put a backup back knows that it is one, also when every peer lost power before it had written down what it saw last.
        if (!plan.isNeeded && (isNewest || onlyIfNoticed)) {
          world.trace.add(operatorName, "there is nothing to adopt");
          return;
        }
        await admin.adoption.report("it is being adopted", operatorName, plan.generation.from);
        const decided = await this.#consult();
        await admin.adoption.adopt(adoption(decided.plan), []);
        world.trace.add(operatorName, `adopts the metadata: ${plan.reasons.join("; ")}`);
        this.#tellModels(decided.snapshot, written);
        return;
      } catch (error) {
        if (!isTorusError(error)) throw error;
        world.trace.add(operatorName, `cannot adopt the metadata yet: ${messageOf(error)}`);
        await sleep(world.clock, retryMs);
      }
    }
  }

  /** Every peer says what it has seen. */
  async #consult(): Promise<{ plan: AdoptionPlan; snapshot: ClusterSnapshot }> {
    const { admin, peers, world } = this.#cluster;
    const snapshot = await admin.snapshot();
    const testimonies: (Testimony & { peer: string })[] = [];
    for (const { observed, name, id } of peers) {
      if (observed === null) throw new TorusError("unavailable", `${name} does not run`);
      const silence = sleep(world.clock, testifyMsMax).then(() => {
        throw new TorusError("timeout", `${name} does not answer`);
      });
      silence.catch(() => {});
      testimonies.push({ ...(await Promise.race([testifyWhole(observed), silence])), peer: id });
    }
    const { view, alarm } = await admin.adoption.look();
    return { plan: planAdoption(snapshot, view, alarm?.reason ?? "", testimonies), snapshot };
  }

  /** `written`: volumes of which the metadata lost something; only these may turn out to be gone. */
  #tellModels({ volumes }: ClusterSnapshot, written: ReadonlyMap<string, string>): void {
    for (const model of this.#cluster.models) {
      const head: Epoch = volumes.get(model.volume)?.head?.epoch ?? 0;
      model.wentBack(head);
      if (written.has(volumeOf(model.volume))) model.mayBeGone = true;
    }
  }
}

/** Volumes of which `last` knows something else than `backup`. */
function writtenSince(backup: StateBackup, last: StateBackup): Map<string, string> {
  const partsOf = ({ entries }: StateBackup): Map<string, string> => {
    const parts = new Map<string, string>();
    for (const { key, value } of entries) {
      const match = /^volumes\/([0-9a-f]+)\/(writer|head|logmap)$/.exec(key);
      if (match !== null) parts.set(match[1], `${parts.get(match[1]) ?? ""} ${value}`);
    }
    return parts;
  };
  const before = partsOf(backup);
  return new Map([...partsOf(last)].filter(([id, parts]) => before.get(id) !== parts));
}

function volumeOf(id: number): string {
  return id.toString(16).padStart(10, "0");
}
