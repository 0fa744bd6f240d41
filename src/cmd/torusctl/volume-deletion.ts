// Deleting a volume as every command does it: its writers are shut out first.

import { shutOutWriters } from "#client";
import { systemClock } from "#host/node";
import type { ClusterMetadata, VolumeKind } from "#metadata";
import { messageOf, TorusError } from "#model";
import type { TorusctlContext } from "./context.ts";
import { findVolume } from "./volume-kind.ts";

export interface DeleteFlags {
  readonly force?: boolean;
  readonly snapshots?: boolean;
}

export interface DeletionOptions {
  /** Also while attached. */
  readonly force: boolean;
  /** Its snapshots too. */
  readonly snapshots: boolean;
}

export function deleteVolume(
  cluster: ClusterMetadata,
  name: string,
  { force, snapshots }: DeletionOptions,
  { output, log }: TorusctlContext,
): ReturnType<ClusterMetadata["volumes"]["delete"]> {
  const deps = { cluster, clock: systemClock, log, warn: (message: string) => output.warn(message) };
  return cluster.volumes.delete(name, {
    force,
    snapshots,
    fence: (state, taken) => shutOutWriters(state, taken, { force }, deps),
  });
}

/** Deletes one after another up to the first that cannot be, and tells which; with `kind` only of that kind. */
export async function deleteVolumes(
  cluster: ClusterMetadata,
  names: readonly string[],
  { force = false, snapshots = false }: DeleteFlags,
  context: TorusctlContext,
  kind: VolumeKind | null = null,
): Promise<void> {
  const { output } = context;
  const deleted: { id: number; name: string; epoch: number }[] = [];
  let failure: unknown = null;
  for (const name of new Set(names)) {
    try {
      if (kind !== null) await findVolume(name, kind, cluster);
      const { id, epoch } = await deleteVolume(cluster, name, { force, snapshots }, context);
      deleted.push({ id, name, epoch });
    } catch (error) {
      failure = error;
      break;
    }
  }
  if (deleted.length > 0) {
    const shown = deleted.map(({ name }) => name).join(", ");
    output.print({ json: { deleted }, message: `deleted ${shown}` });
  }
  if (failure === null) return;
  if (deleted.length === 0 || !(failure instanceof TorusError)) throw failure;
  throw new TorusError(failure.code, `stopped there: ${messageOf(failure)}`, {}, { cause: failure });
}
