// Deleting a volume as every command does it: its writers are shut out first.

import { shutOutWriters } from "#client";
import { systemClock } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import type { TorusctlContext } from "./context.ts";

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
