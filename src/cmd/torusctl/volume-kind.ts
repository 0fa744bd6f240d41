// Block volumes and files have their names in one place: commands of the one find the other, and say so.

import type { ClusterMetadata, VolumeKind, VolumeState } from "#metadata";
import { isTorusError, TorusError } from "#model";

/** Rejects with `not-found`, and with `invalid-argument` when it is of the other kind. */
export async function findVolume(
  name: string,
  kind: VolumeKind,
  cluster: ClusterMetadata,
): Promise<VolumeState> {
  const found = await cluster.volumes.find(name).catch((error: unknown) => {
    if (kind === "file" && isTorusError(error, "not-found"))
      throw new TorusError(
        "not-found",
        `there is no file "${name}": torusctl file list shows those there are`,
      );
    throw error;
  });
  if (found.spec.kind === kind) return found;
  throw new TorusError(
    "invalid-argument",
    kind === "file"
      ? `"${name}" is a block volume, not a file: use torusctl volume and block`
      : `"${name}" is a file, not a block volume: use torusctl file get and put`,
  );
}
