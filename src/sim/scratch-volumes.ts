// ScratchVolumes: volumes that come and go while a run lasts: each is created, written by a client of its own, and deleted. Nobody looks
// at what is in them; they are there for those who must not take a new volume for an unknown one, or keep what is left of a
// deleted one (docs/design.md §7).

import { sleep } from "#host";
import type { VolumeState } from "#metadata";
import { isTorusError, messageOf, pageBytes, TorusError } from "#model";
import type { SimClient } from "./client.ts";
import type { SimCluster } from "./cluster.ts";
import { volumeBytes } from "./session.ts";

export interface ScratchVolume {
  readonly pages: number;
  /** From when it was written to when it is deleted. */
  readonly forMs: number;
}

const deleteRetryMs = 500;
const fenceMsMax = 2000;

export class ScratchVolumes {
  readonly #cluster: SimCluster;
  #count = 0;
  #living = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  /** Volumes that are not deleted yet. */
  get living(): number {
    return this.#living;
  }

  begin(volume: ScratchVolume): void {
    const { world } = this.#cluster;
    this.#count += 1;
    const name = `s${this.#count}`;
    this.#living += 1;
    this.#live(name, volume).then(
      () => {
        this.#living -= 1;
      },
      (error: unknown) => world.violateBy(error, `scratch volume ${name}`),
    );
  }

  async #live(name: string, { pages, forMs }: ScratchVolume): Promise<void> {
    const { admin, plan, world } = this.#cluster;
    const sizeBytes = volumeBytes(pages);
    const minReplicas = Math.min(2, plan.replicas);
    await admin.volumes.create({ name, sizeBytes, acknowledge: "replicated", minReplicas });
    const client = this.#cluster.newClient(name, {});
    client.start(true);
    try {
      await this.#write(client, name, pages);
    } catch (error) {
      if (!isTorusError(error)) throw error;
      world.trace.add(name, `is not written well: ${messageOf(error)}`);
    }
    client.crash(false);
    await sleep(world.clock, forMs);
    await this.#delete(name);
  }

  async #write(client: SimClient, name: string, pages: number): Promise<void> {
    const volumes = await client.open();
    const volume = await volumes.attach(name, { force: false });
    const bytes = new Uint8Array(pageBytes);
    for (let page = 0; page < pages; page++) {
      bytes.fill(page + 1);
      await volume.write(page * pageBytes, bytes, false);
    }
    await client.close();
    this.#cluster.world.trace.add(name, "is written");
  }

  async #delete(name: string): Promise<void> {
    const { admin, peers, world } = this.#cluster;
    const fence = async ({ spec, head }: VolumeState, epoch: number): Promise<void> => {
      for (const { store, name: peer } of peers) {
        if (store === null) throw new TorusError("unavailable", `${peer} is down`);
        // A process that ends meanwhile never answers.
        const silence = sleep(world.clock, fenceMsMax).then(() => {
          throw new TorusError("timeout", `${peer} does not answer`);
        });
        silence.catch(() => {});
        await Promise.race([store.fence(spec.id, epoch, head?.epoch ?? 1, 1), silence]);
      }
    };
    for (;;) {
      try {
        await admin.volumes.delete(name, { force: true, fence });
        world.trace.add(name, "is deleted");
        return;
      } catch (error) {
        if (!isTorusError(error)) throw error;
        if (isTorusError(error, "not-found")) return;
        await sleep(world.clock, deleteRetryMs);
      }
    }
  }
}
