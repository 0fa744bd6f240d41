// Deleting a volume of the simulated cluster as `torusctl volume delete --force` does: whoever writes it is fenced at every peer first.

import { sleep } from "#host";
import type { VolumeState } from "#metadata";
import { isTorusError, TorusError } from "#model";
import type { SimCluster } from "./cluster.ts";

const fenceMsMax = 2000;
const retryMs = 500;

/** Tries until it is gone. */
export async function deleteVolume(name: string, { admin, peers, world }: SimCluster): Promise<void> {
  const fence = async ({ spec, head }: VolumeState, epoch: number): Promise<void> => {
    const { basis } = await admin.adoption.lookAtVolume(spec.id);
    for (const { store, name: peer } of peers) {
      if (store === null) throw new TorusError("unavailable", `${peer} is down`);
      // A process that ends meanwhile never answers.
      const silence = sleep(world.clock, fenceMsMax).then(() => {
        throw new TorusError("timeout", `${peer} does not answer`);
      });
      silence.catch(() => {});
      await Promise.race([store.fence(spec.id, epoch, head?.epoch ?? 1, 1, basis), silence]);
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
      await sleep(world.clock, retryMs);
    }
  }
}
