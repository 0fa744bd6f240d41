// A snapshot for as long as a command takes, so that what it reads is the volume at one moment. It goes again whatever happens, short of the
// program's own death.

import { systemClock } from "#host/node";
import type { ClusterMetadata, VolumeKind } from "#metadata";
import { isTorusError, messageOf } from "#model";
import type { ClusterVolumes, SnapshotVolume } from "#volume";
import { parseSnapshotName } from "#volume";
import type { TorusctlContext } from "./context.ts";
import { findVolume } from "./volume-kind.ts";

export const snapshotTimeoutMs = 60_000;

export interface SnapshotUse {
  /** One word, which its name and labels have. */
  readonly purpose: string;
  /** Volumes of another kind are refused. */
  readonly kind: VolumeKind;
}

/** Runs `work` on `VOLUME@SNAPSHOT`, or on a snapshot of `VOLUME` taken now. */
export async function withSnapshot<Result>(
  name: string,
  { purpose, kind }: SnapshotUse,
  context: TorusctlContext,
  work: (opened: SnapshotVolume) => Promise<Result>,
): Promise<Result> {
  return context.withVolumes(async (volumes, cluster) => {
    const named = parseSnapshotName(name);
    await findVolume(named?.volume ?? name, kind, cluster);
    if (named !== null) return onSnapshot(volumes, named.volume, named.snapshot, work);
    const snapshot = `temp-${purpose}-${context.io.pid}-${systemClock.wallMs().toString(36)}`;
    const labels = { by: `torusctl ${purpose}`, host: context.io.host };
    const order = { volume: name, name: snapshot, labels, timeoutMs: snapshotTimeoutMs };
    try {
      await volumes.takeSnapshot(order);
      return await onSnapshot(volumes, name, snapshot, work);
    } finally {
      await removeSnapshot(cluster, name, snapshot, context);
    }
  });
}

async function onSnapshot<Result>(
  volumes: ClusterVolumes,
  volume: string,
  snapshot: string,
  work: (opened: SnapshotVolume) => Promise<Result>,
): Promise<Result> {
  const opened = await volumes.openSnapshot(volume, snapshot);
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}

/** It may never have come to be. One that cannot be deleted is told of. */
async function removeSnapshot(
  cluster: ClusterMetadata,
  volume: string,
  snapshot: string,
  context: TorusctlContext,
): Promise<void> {
  try {
    await cluster.snapshots.delete(volume, snapshot);
  } catch (error) {
    if (isTorusError(error, "not-found", "invalid-argument")) return;
    const how = `torusctl volume snapshot delete ${volume}@${snapshot}`;
    context.output.warn(`the temporary snapshot may be there still (${messageOf(error)}): ${how}`);
  }
}
