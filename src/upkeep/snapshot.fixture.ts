// Metadata as tests of upkeep want it: volumes and tombstones at one revision, written down in a line each.

import type { ClusterSnapshot, HeadRecord, TombstoneRecord, VolumeState } from "#metadata";
import { unlimited } from "#metadata";
import type { BlockRef, BlockStatus, Epoch, VolumeId } from "#model";

export interface HeadSketch {
  readonly epoch: Epoch;
  readonly replayFrom: number;
  /** The block of the root, of the volume and the epoch unless it says otherwise; null for none. */
  readonly root: Partial<BlockRef> | null;
}

export interface SnapshotSketch {
  readonly revision?: number;
  /** null: never written. */
  readonly volumes?: Readonly<Record<VolumeId, HeadSketch | null>>;
  /** Each with the epoch its deletion took. */
  readonly tombstones?: Readonly<Record<VolumeId, Epoch>>;
}

export function sketchSnapshot({
  revision = 100,
  volumes = {},
  tombstones = {},
}: SnapshotSketch): ClusterSnapshot {
  const states = Object.entries(volumes).map(([id, head]) => stateOf(Number(id), head));
  const graves = Object.entries(tombstones).map(([id, epoch]) => graveOf(Number(id), epoch));
  return {
    revision,
    cluster: { clusterId: "test", blockBytes: 65536, createdMs: 1 },
    lastVolumeId: 1000,
    volumes: new Map(states.map((state) => [state.spec.id, state])),
    tombstones: new Map(graves.map((grave) => [grave.id, grave])),
    ringVersion: 1,
    ring: { version: 1, type: "empty", replicas: 1, members: [] },
    upkeep: { paused: false },
    behind: "",
    bytes: 0,
  };
}

function stateOf(id: VolumeId, head: HeadSketch | null): VolumeState {
  return {
    spec: {
      id,
      name: `v${id}`,
      kind: "block",
      qos: unlimited,
      sizeBytes: 2 ** 20,
      acknowledge: "replicated",
      minReplicas: 1,
      createdMs: 1,
    },
    origin: null,
    snapshots: [],
    writer: { epoch: head?.epoch ?? 0, owner: "" },
    lease: null,
    head: head === null ? null : headOf(id, head),
    logmap: null,
    status: null,
    adopted: null,
    clients: null,
    cut: null,
    history: null,
    revisions: { spec: 1, writer: 1, head: 1, logmap: 1 },
  };
}

function headOf(id: VolumeId, { epoch, replayFrom, root }: HeadSketch): HeadRecord {
  const ref = { type: 1, volume: id, epoch, index: 1, ...root };
  return {
    epoch,
    root: root === null ? null : { ref, offset: 0, length: 1, checksum: 0 },
    ringVersion: 1,
    replayFrom,
    sequence: 0,
    previous: 0,
    positionIndex: replayFrom,
    positionOffset: 0,
    usedBytes: 0,
    logBytes: 0,
    ended: false,
    timeMs: 0,
    device: null,
  };
}

function graveOf(id: VolumeId, epoch: Epoch): TombstoneRecord {
  return { id, name: `v${id}`, epoch, token: "t", deletedMs: 1 };
}

/** `volume.epoch.type.index`, as blockRefKey writes it. */
export function refOf(key: string): BlockRef {
  const [volume, epoch, type, index] = key.split(".").map(Number);
  return { type, volume, epoch, index };
}

export function statusOf(key: string, held = 4096, state: "open" | "sealed" = "sealed"): BlockStatus {
  return { ref: refOf(key), state, held, durable: held, checksum: 0, cut: false, damaged: false };
}
