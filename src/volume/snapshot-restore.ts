// Putting a volume back to a snapshot: attaches, keeps the present as a snapshot of its own, makes the old INode the head with nothing to
// replay [C23], and detaches. Nobody else may have the volume.

import type { Clock, Log, Random } from "#host";
import type { SnapshotRecord } from "#metadata";
import { isAttached } from "#metadata";
import { messageOf, TorusError } from "#model";
import type { SnapshotVolume } from "./snapshot-volume.ts";
import type { Volume } from "./volume.ts";

export interface SnapshotRestoreDeps {
  readonly openSnapshot: (volume: string, snapshot: string) => Promise<SnapshotVolume>;
  /** Attaches at once, or rejects with `busy`. */
  readonly attach: (volume: string) => Promise<Volume>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface SnapshotRestored {
  readonly snapshot: SnapshotRecord;
  /** What the volume was before. */
  readonly kept: SnapshotRecord;
}

/** Rejects with `busy` while the volume is attached, `not-found`, `corrupt` when the snapshot cannot be read, or with what attaching met. */
export async function restoreSnapshot(
  name: { readonly volume: string; readonly snapshot: string },
  { openSnapshot, attach, clock, random, log }: SnapshotRestoreDeps,
): Promise<SnapshotRestored> {
  // A head that cannot be read could not be attached again: it is opened before it becomes one.
  const opened = await openSnapshot(name.volume, name.snapshot);
  const { found } = opened;
  await opened.close();
  const { lease } = found.volume;
  if (isAttached(found.volume)) {
    throw new TorusError(
      "busy",
      `volume "${name.volume}" is attached by ${lease?.holder}: detach it there, then restore`,
      { holder: lease?.holder ?? "" },
    );
  }
  const volume = await attach(name.volume);
  try {
    const wish = { name: keptName(clock.wallMs()), labels: {}, token: random.uuid() };
    return { snapshot: found.snapshot, kept: await volume.restore(found, wish) };
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
