// A volume that a command makes to put something in: half of it must not look like all of it.

import type { ClusterMetadata } from "#metadata";
import type { TorusctlContext } from "./context.ts";
import { deleteVolume } from "./volume-deletion.ts";

export interface NewVolume {
  readonly name: string;
  readonly sizeBytes: number;
  readonly acknowledge: "replicated" | "writeback";
  /** Null: 2, or less if there are less copies. */
  readonly minReplicas: number | null;
}

/** Makes the volume and fills it; when filling fails, the volume goes again, or a warning says that it did not. */
export async function intoNewVolume<Result>(
  { name, sizeBytes, acknowledge, minReplicas }: NewVolume,
  cluster: ClusterMetadata,
  context: TorusctlContext,
  fill: () => Promise<Result>,
): Promise<Result> {
  const { replicas } = await cluster.rings.current();
  const least = minReplicas ?? Math.min(2, replicas);
  await cluster.volumes.create({ name, sizeBytes, acknowledge, minReplicas: least });
  try {
    return await fill();
  } catch (error) {
    await deleteVolume(cluster, name, { force: false, snapshots: false }, context).catch(() => {
      context.output.warn(`volume "${name}" has only a part of it: torusctl volume delete ${name}`);
    });
    throw error;
  }
}
