// Putting a volume back to a snapshot: attaches, keeps the present as a snapshot of its own, makes the old INode the head with nothing to
// replay [C23], and detaches. Nobody else may have the volume, unless it is taken from them by force.

import type { Clock, Log, Random } from "#host";
import type { ClusterMetadata, CutRecord, SnapshotRecord } from "#metadata";
import { isAttached } from "#metadata";
import { messageOf, TorusError } from "#model";
import type { SnapshotVolume } from "./snapshot-volume.ts";
import type { Volume } from "./volume.ts";

export interface SnapshotRestoreDeps {
  readonly metadata: Pick<ClusterMetadata, "volumes">;
  readonly openSnapshot: (volume: string, snapshot: string) => Promise<SnapshotVolume>;
  /** Attaches at once, or rejects with `busy` (never, when `force` is given). */
  readonly attach: (volume: string, force: boolean) => Promise<Volume>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface SnapshotRestored {
  readonly snapshot: SnapshotRecord;
  /** What the volume was before. */
  readonly kept: SnapshotRecord;
  /** Whoever had it attached, and was cut off by force. */
  readonly replaced: string | null;
  /** Clients of before that must not go on with what they have in memory; until somebody says that they have ended. */
  readonly cut: CutRecord | null;
}

export interface SnapshotRestoreOptions {
  readonly volume: string;
  readonly snapshot: string;
  /** Also while somebody has the volume attached: he is cut off. */
  readonly force: boolean;
}

/**
 * Rejects with `busy` while the volume is attached (unless `force`), `not-found`, `corrupt` when the snapshot cannot be read, or with what
 * attaching met.
 */
export async function restoreSnapshot(
  name: SnapshotRestoreOptions,
  { metadata, openSnapshot, attach, clock, random, log }: SnapshotRestoreDeps,
): Promise<SnapshotRestored> {
  // A head that cannot be read could not be attached again: it is opened before it becomes one.
  const opened = await openSnapshot(name.volume, name.snapshot);
  const { found } = opened;
  await opened.close();
  const { lease } = found.volume;
  if (isAttached(found.volume) && !name.force) {
    throw new TorusError(
      "busy",
      `volume "${name.volume}" is attached by ${lease?.holder}: detach it there, then restore, or use --force to cut it off`,
      { holder: lease?.holder ?? "" },
    );
  }
  const volume = await attach(name.volume, name.force);
  try {
    const wish = { name: keptName(clock.wallMs()), labels: {}, token: random.uuid(), atMs: null };
    const kept = await volume.restore(found, wish);
    const { cut } = await metadata.volumes.load(found.volume.spec.id);
    return { snapshot: found.snapshot, kept, replaced: lease?.holder ?? null, cut };
  } finally {
    await volume.close().catch((error: unknown) => {
      log.warn("The volume was not let go of cleanly.", { reason: messageOf(error) });
    });
  }
}

/** `before-restore-20260131T120102.345Z`. */
function keptName(wallMs: number): string {
  return `before-restore-${new Date(wallMs).toISOString().replaceAll(/[-:]/g, "")}`;
}
