// ScratchVolumes: volumes that come and go while a run lasts: each is created, written by a client of its own, and deleted. Nobody looks
// at what is in them; they are there for those who must not take a new volume for an unknown one, or keep what is left of a
// deleted one (docs/design.md §7).

import { sleep } from "#host";
import { isTorusError, messageOf, pageBytes } from "#model";
import type { SimClient } from "./client.ts";
import type { SimCluster } from "./cluster.ts";
import { volumeBytes } from "./session.ts";
import { deleteVolume } from "./volume-deletion.ts";

export interface ScratchVolume {
  readonly pages: number;
  /** From when it was written to when it is deleted. */
  readonly forMs: number;
}

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
    await deleteVolume(name, this.#cluster);
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
}
