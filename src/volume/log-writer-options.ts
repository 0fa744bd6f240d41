// What a log writer is made of: its limits, what it is given, and what it tells its owner.

import type { ReplicatorDeps, ReplicatorOptions } from "#distributor";
import type { LogMapRecord } from "#metadata";
import type { Epoch, TorusError, VolumeId } from "#model";
import type { LogRow, Ring } from "#ring";
import type { BlockTable } from "./block-table.ts";
import type { RecordTime } from "./record-time.ts";
import type { LogBlock } from "./write-log.ts";

export interface LogWriterOptions {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly blockBytes: number;
  readonly minReplicas: number;
  readonly firstRow: LogRow;
  readonly replicator: ReplicatorOptions;
  /** Bytes of blocks not yet sealed everywhere and not given up; writes wait beyond. */
  readonly windowBytesMax: () => number;
  /** How often peers a row leaves out are asked whether they are back. */
  readonly returnEveryMs: number;
}

export interface LogWriterDeps extends ReplicatorDeps {
  readonly table: BlockTable;
  readonly times: RecordTime;
  /** The first head of this epoch is committed: what is appended now may be answered. */
  readonly isServing: () => boolean;
  /** The newest ring, and any kept version. */
  readonly ring: () => Ring;
  readonly ringOf: (version: number) => Ring;
  /** The pool may soon have no space for new data. */
  readonly isTight: () => boolean;
  /** Makes a logmap the volume's, before anything is appended under it. Rejects with `fenced` when another writer came. */
  readonly commitLogmap: (logmap: LogMapRecord) => Promise<void>;
}

export interface LogWriterListener {
  /** There may be room, or positions moved. */
  onRoom(): void;
  /** A peer has no space left, not even what it keeps back: everything that writes fails until it has. */
  onFull(error: TorusError): void;
  /** The attachment is over. */
  onLost(error: TorusError): void;
  /** What writes wait for, "" when they do not. */
  onCondition(condition: string): void;
  /** A strike was committed: a checkpoint past it is due. */
  onStruck(): void;
  /**
   * These blocks have too few copies left to be finished: their live pages must be appended again, and a
   * checkpoint committed; writes and flushes in and after them wait for that.
   */
  onAbandoned(blocks: readonly LogBlock[]): void;
}
