// What the metadata service holds, as values. Every value is JSON with a `format` number; decoding checks all of it
// (records-codec.ts), because a wrong read decides over data. Keys are in keys.ts.

import type { BlockRef, Epoch, ErrorCode, PeerId, VolumeId } from "#model";
import type { LogRow, RingDescription, Strike } from "#ring";

export interface ClusterRecord {
  readonly clusterId: string;
  readonly blockBytes: number;
  readonly createdMs: number;
}

/** A peer as it registered itself; whether it is alive is the lease on its `alive` key. */
export interface PeerRecord {
  readonly peer: PeerId;
  /** HOST:PORT of its store. */
  readonly address: string;
  readonly sizeBytes: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly protocolVersion: number;
}

/** Written with each heartbeat, under the peer's lease. */
export interface PeerAliveRecord {
  readonly incarnation: number;
  readonly usedBytes: number;
  readonly blocks: number;
  readonly updatedMs: number;
  /** "ok", or why the store takes nothing (poisoned, disk error, full). */
  readonly condition: string;
  /** null: the peer does no upkeep, or is of a version that did not tell. */
  readonly upkeep: UpkeepReport | null;
  /** What its collector's last whole pass found; null until there was one since the peer started. */
  readonly collected: CollectedRecord | null;
  /** null: it does not scrub. */
  readonly scrub: ScrubReport | null;
}

/** How far a peer is with moving blocks to where the ring wants them. */
export interface UpkeepReport {
  /** starting: no walk is finished yet; moving: blocks are on their way; waiting: some wait for a peer, or a writer. */
  readonly state: "starting" | "idle" | "moving" | "waiting" | "paused";
  /** By this ring version the last whole walk found every block in place, for all copies of it; 0 for none. */
  readonly ringVersion: number;
  /** Metadata revision that walk began from; 0 for none. */
  readonly revision: number;
  /** Whole walks in a row, by `ringVersion`, that found everything in place. */
  readonly walks: number;
  /** Of the walk under way. */
  readonly walkedPercent: number;
  /** Blocks of this peer that are not where the ring wants them, or lack copies there, as far as walked. */
  readonly misplacedBlocks: number;
  readonly misplacedBytes: number;
  /** Blocks that stay because a log needs them here: they go when its volume has checkpointed. */
  readonly keptBlocks: number;
  /** Sent to others since the peer started. */
  readonly movedBytes: number;
  /** Until the walk under way ends, at its speed so far; null when that cannot be said. */
  readonly remainingMs: number | null;
}

/** One pass of a peer's collector. */
export interface CollectedRecord {
  /** Of the metadata the pass judged by. */
  readonly revision: number;
  /** Bytes of its blocks that a kept INode needs. */
  readonly neededBytes: number;
  /** Bytes of its dead blocks. */
  readonly reclaimableBytes: number;
  /** Volumes with a tombstone at `revision` of which it may still hold, or be sent, blocks. */
  readonly buriedHere: readonly VolumeId[];
}

/** How a peer looks after its own disk: since it started, but for `done`. */
export interface ScrubReport {
  /** Of the round under way, from 0 to 1. */
  readonly done: number;
  /** Damaged blocks. */
  readonly found: number;
  readonly repaired: number;
  /** Damaged now, without a good copy within reach. */
  readonly unrepairable: number;
}

/** A peer that was taken out of the ring because it was away too long, and is put back when it returns. */
export interface RemovedPeerRecord {
  /** The ring version that first lacks it. */
  readonly ringVersion: number;
  readonly weight: number;
  readonly removedMs: number;
}

/** What operators ask of upkeep, of all peers. */
export interface UpkeepRecord {
  /** Nothing is moved until they say so. */
  readonly paused: boolean;
}

export type AcknowledgeMode = "replicated" | "writeback";

/** What a volume's clients may ask for, all of them together; null: as much as they like. */
export interface QosLimits {
  /** Requests a second. */
  readonly iops: number | null;
  /** Bytes read and written a second. */
  readonly bytesPerSecond: number | null;
  /** What was not used of so long may be used at once. */
  readonly burstMs: number;
}

/** What its bytes are: a disk's, or those of a file behind a page that says how long it is (docs/formats/file.md). */
export type VolumeKind = "block" | "file";

export interface VolumeSpec {
  readonly id: VolumeId;
  readonly name: string;
  readonly kind: VolumeKind;
  readonly sizeBytes: number;
  readonly acknowledge: AcknowledgeMode;
  readonly minReplicas: number;
  readonly qos: QosLimits;
  readonly createdMs: number;
}

export interface WriterRecord {
  readonly epoch: Epoch;
  /** A random number of the process that took the epoch; "" when it detached. */
  readonly owner: string;
}

export interface LeaseRecord {
  readonly owner: string;
  readonly epoch: Epoch;
  /** Host name and pid, for messages. */
  readonly holder: string;
}

/** Where a node of an INode's trees lies: bytes [offset, offset + length) of an inode block. */
export interface NodePointer {
  readonly ref: BlockRef;
  readonly offset: number;
  readonly length: number;
  readonly checksum: number;
}

export interface HeadRecord {
  /** The epoch whose log continues this INode; 0 for a clone nobody has attached yet: no log, no logmap, nothing to replay. */
  readonly epoch: Epoch;
  /**
   * Root of the INode; null while nothing was ever written. After a restore it is of an earlier epoch than `epoch`; in a clone it, and what it leads to,
   * may lie in blocks of `OriginRecord.bases`.
   */
  readonly root: NodePointer | null;
  /** Ring version the INode's blocks were put on. */
  readonly ringVersion: number;
  /** Replay starts at this data block of `epoch`. */
  readonly replayFrom: number;
  /** Sequence of the last record below `replayFrom`, and its header checksum: what replay chains to. */
  readonly sequence: number;
  readonly previous: number;
  /** Position the INode is of: everything below it is in the INode and durable. */
  readonly positionIndex: number;
  readonly positionOffset: number;
  /** Bytes the map points at: what `volume list` shows as used. */
  readonly usedBytes: number;
  /** Space of the data blocks this INode needs, one copy: what is beyond `usedBytes` is garbage that cleaning can turn into space. */
  readonly logBytes: number;
  /** The log of `epoch` ends here for good: there is no tail to replay. */
  readonly ended: boolean;
  /** No record below the position is of a later time, and none behind it will be of an earlier one; 0 when an older Torus made it. */
  readonly timeMs: number;
  /** The kernel's device that `epoch` serves and that may go on with whoever attaches next; null: none. */
  readonly device: string | null;
}

/** A checkpoint that was the head once, kept as where replaying to some time after it begins (history-machine.ts). */
export interface HistoryPoint
  extends Pick<
    HeadRecord,
    | "timeMs"
    | "epoch"
    | "ringVersion"
    | "replayFrom"
    | "sequence"
    | "previous"
    | "positionIndex"
    | "positionOffset"
    | "usedBytes"
    | "logBytes"
  > {
  readonly root: NodePointer;
  readonly sizeBytes: number;
  /** Of the log, from where the history began up to here. */
  readonly blocks: number;
  /**
   * Of the first point of an epoch: the log of the epoch with the point before is there up to this block; what was behind it was appended again,
   * record by record, as the beginning of the log of this epoch. Null for all others.
   */
  readonly previousEnd: number | null;
  /** It may not be left out for the ones around it. */
  readonly isForced: boolean;
}

/**
 * Every INode of `points`, and every block of the volume's log from the first one's replay position on, is needed. There while the volume keeps
 * history; without points until the next checkpoint.
 */
export interface HistoryRecord {
  /** How far back it is to reach. */
  readonly keepMs: number;
  readonly points: readonly HistoryPoint[];
}

/**
 * Which peers hold which data blocks of the log of `epoch` (blocks of earlier epochs are sealed and found by ring).
 * Ensemble of block i: see `ensemble` in #ring.
 */
export interface LogMapRecord {
  readonly epoch: Epoch;
  readonly rows: readonly LogRow[];
  readonly struck: readonly Strike[];
}

/** One machine between two of its boots. */
export interface Boot {
  readonly machine: string;
  readonly id: string;
}

/**
 * Clients that may come back, and rest on answers of the log of `epoch`: from that epoch's first head until what it answered is durable and
 * it detached.
 */
export interface ClientsRecord {
  readonly epoch: Epoch;
  /** Who served them, for messages. */
  readonly holder: string;
  /** Where all of them run; null when they may run anywhere. */
  readonly boot: Boot | null;
}

/**
 * Since this attach clients of before must not go on: what was answered to them and not flushed may be lost. Until somebody who
 * knows that they have ended says so.
 */
export interface CutRecord {
  readonly epoch: Epoch;
  readonly atMs: number;
  /** Who had served them. */
  readonly previousHolder: string;
}

/** Under the writer's lease: what the volume waits for, "" when it serves. Shown by `volume list`. */
export interface StatusRecord {
  readonly condition: string;
  readonly updatedMs: number;
}

/** The metadata that is in force after having gone back, and since when. Absent until that happens. */
export interface AdoptionRecord {
  readonly generation: number;
  readonly adoptedMs: number;
  /** Of the store it was adopted in: `MetadataService.identity`. */
  readonly identity: string;
}

/** The metadata is behind what a peer has seen: nobody attaches, creates or deletes until it was adopted. */
export interface BehindRecord {
  readonly reason: string;
  /** For messages, such as "peer 6f1c1f0e-...". */
  readonly noticedBy: string;
  readonly noticedMs: number;
}

/** A volume whose head and logmap may be older than its log on the peers, because metadata that went back was adopted. */
export interface AdoptedRecord {
  readonly generation: number;
  /** What the volume's epoch was raised to: heads of lower epochs are from before the adoption. */
  readonly epoch: Epoch;
  /** Peers given up as lost: recovery does not wait for them. */
  readonly without: readonly PeerId[];
}

/**
 * A kept INode. It needs no replay: every block it names is sealed and durable on every member. Its nodes and pages may lie in blocks
 * of the volume itself and, where the volume is a clone, of the volumes in `OriginRecord.bases`.
 */
export interface SnapshotRecord {
  readonly name: string;
  /** The instant it is of, by the clock of the volume's writer. */
  readonly createdMs: number;
  /** Random, of the call that asked for it: how that call knows its own snapshot again. */
  readonly token: string;
  /** Of the volume then. */
  readonly sizeBytes: number;
  /** Of the log whose end it has: the writer's that took it, or an earlier one's, if it is of a time before. */
  readonly epoch: Epoch;
  readonly root: NodePointer;
  /** Data blocks of `epoch` from this index on came later. */
  readonly endIndex: number;
  readonly ringVersion: number;
  readonly usedBytes: number;
  readonly logBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** What a volume's writer can be asked to do: keep the volume as it is now, or was; give it another size. */
export type VolumeOrder =
  | {
      readonly kind: "snapshot";
      readonly name: string;
      readonly labels: Readonly<Record<string, string>>;
      /** What the volume was then, by its history; null: what it is. */
      readonly atMs: number | null;
    }
  | {
      readonly kind: "resize";
      readonly sizeBytes: number;
      /** What is in use past the new end is given up. */
      readonly force: boolean;
    };

/** What somebody asks of a volume's writer. It goes when it is done, when it is withdrawn, or some time after `byMs`. */
export interface VolumeRequestRecord {
  readonly order: VolumeOrder;
  readonly createdMs: number;
  /** Nobody waits for it after this time. */
  readonly byMs: number;
  /** The writer's answer when it will not be done; null before. */
  readonly refusal: { readonly code: ErrorCode; readonly message: string } | null;
}

/** Where a clone comes from. There until the clone has all of its blocks itself (`torusctl volume flatten`). */
export interface OriginRecord {
  readonly volume: VolumeId;
  /** Names of that volume and of its snapshot when it was cloned, for people: both may be gone. */
  readonly name: string;
  readonly snapshot: string;
  /**
   * Every volume whose blocks the INodes of this one (head and snapshots) may name besides its own: the volume it was cloned from, and what that
   * one named. None of them can be deleted while this stands.
   */
  readonly bases: readonly VolumeId[];
}

export interface VolumeState {
  readonly spec: VolumeSpec;
  /** Of a clone; null for a volume that stands on its own. */
  readonly origin: OriginRecord | null;
  /** By name. Each is an INode whose blocks are needed. */
  readonly snapshots: readonly SnapshotRecord[];
  /** There from the volume's creation on; epoch 0 until the first attach. */
  readonly writer: WriterRecord;
  readonly lease: LeaseRecord | null;
  readonly head: HeadRecord | null;
  readonly logmap: LogMapRecord | null;
  readonly status: StatusRecord | null;
  readonly adopted: AdoptedRecord | null;
  readonly clients: ClientsRecord | null;
  readonly cut: CutRecord | null;
  /** Null: the volume keeps none. */
  readonly history: HistoryRecord | null;
  /** modRevisions, for guards; 0 when absent. */
  readonly revisions: {
    readonly spec: number;
    readonly writer: number;
    readonly head: number;
    readonly logmap: number;
  };
}

/** The ring in force: `rings/<version>` has it. */
export interface RingPointerRecord {
  readonly version: number;
}

export interface MinterRecord {
  /** Ids up to this one were given out. */
  readonly lastVolumeId: VolumeId;
}

export interface NameRecord {
  readonly id: VolumeId;
  /** Random, of the call that created the volume: how that call knows its own write again after a time-out. */
  readonly token: string;
}

/** A deleted volume, kept until every peer reports none of its blocks: an id with neither volume nor tombstone is an alarm. */
export interface TombstoneRecord {
  readonly id: VolumeId;
  readonly name: string;
  /** The epoch the deletion took: no writer of the volume had a higher one. */
  readonly epoch: Epoch;
  readonly token: string;
  readonly deletedMs: number;
}

export type { LogRow, RingDescription, Strike };
