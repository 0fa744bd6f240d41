// What a backup needs of a volume: its snapshots, what is in one, and what two have otherwise.

import type { BlockDevice, DifferencePart } from "#volume";
import type { SnapshotIdentity, VolumeIdentity } from "./manifest-codec.ts";

export interface SourceSnapshot extends SnapshotIdentity {
  readonly sizeBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** Pages that differ, upward, part by part: see MapDifference. */
export interface Difference {
  after(page: number): Promise<DifferencePart>;
}

export interface OpenSnapshot {
  readonly device: BlockDevice;
  /** Against an older snapshot of the volume; null: all pages that have content. */
  differenceFrom(base: SnapshotIdentity | null): Difference;
  close(): Promise<void>;
}

export interface SourceVolume {
  readonly identity: VolumeIdentity;
  snapshots(): Promise<readonly SourceSnapshot[]>;
  take(name: string, labels: Readonly<Record<string, string>>): Promise<SourceSnapshot>;
  open(snapshot: SnapshotIdentity): Promise<OpenSnapshot>;
  remove(snapshot: SnapshotIdentity): Promise<void>;
}
