// The volumes of a cluster as programs see them: list, attach, detach.

import type { CutRecord } from "#metadata";
import type { TorusError } from "#model";
import type { DeviceClaim } from "./attach-options.ts";
import type { BlockDevice } from "./block-device.ts";

/** A volume attached for writing by this process, or a snapshot it has open for reading. */
export interface AttachedVolume extends BlockDevice {
  /** Resolves, at most once, when the attachment is over though nobody closed it: every request now fails. */
  readonly lost: Promise<TorusError>;
  /**
   * Null: whoever was served before, by whatever process, may go on as if nothing had happened. Else something answered to them may be lost:
   * until a person has accepted that, nobody who comes back may be served, and nobody can be told from them.
   */
  cut(): Promise<CutRecord | null>;
  /** The name of the device it was attached for: one of `resume`, which may go on, or the fresh one. Null, or absent: it was not. */
  readonly device?: string | null;
  /** Flushes, commits a checkpoint and detaches. Requests in flight must have settled. */
  close(): Promise<void>;
}

export interface VolumeSummary {
  readonly name: string;
  readonly sizeBytes: number;
  readonly snapshots: readonly SnapshotSummary[];
}

export interface SnapshotSummary {
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdMs: number;
}

export interface AttachWish {
  /** Takes it from whoever holds it. */
  readonly force: boolean;
  /** Snapshots have none: a device of one ends with the process. */
  readonly device?: DeviceClaim;
}

export interface VolumeCatalog {
  list(): Promise<readonly VolumeSummary[]>;
  /**
   * Attaches a volume, or opens the snapshot `VOLUME@SNAPSHOT`, which any number of readers may. Rejects with `not-found`, with `busy` naming the holder
   * (unless `force`), or with what attaching met.
   */
  attach(name: string, options: AttachWish): Promise<AttachedVolume>;
  /** Lets go of the cluster. Volumes still attached are closed first. */
  close(): Promise<void>;
}
