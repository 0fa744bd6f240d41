// What a Volume is told and what it is made of.

import type { Clock, Log } from "#host";
import type { ClusterMetadata, CutRecord } from "#metadata";
import type { Checkpointer } from "./checkpointer.ts";
import type { ExtentMap } from "./extent-map.ts";
import type { LogWriter } from "./log-writer.ts";
import type { PageReader } from "./page-reader.ts";
import type { ReadNode } from "./pointer-tree.ts";
import type { RequestQueue } from "./request-queue.ts";
import type { VolumeOrders } from "./volume-orders.ts";
import type { VolumeSize } from "./volume-size.ts";

export interface VolumeOptions {
  /** `writeback`: how many bytes may be answered before they are held. 0 for `replicated`. */
  readonly unheldBytesMax: number;
  /** A checkpoint is due after this much log, this many changed leaves, or this long with something new. */
  readonly checkpointBytes: number;
  readonly checkpointLeaves: number;
  readonly checkpointEveryMs: number;
  /** How long `close` waits for peers before it leaves the tail to the next attach. */
  readonly closeTimeoutMs: number;
}

/** Bytes, one copy of each. */
export interface VolumeSpace {
  /** What the volume's map points at. */
  readonly liveBytes: number;
  /** Of all blocks it points into: what is not live is garbage. */
  readonly logBytes: number;
}

export interface VolumeDeps {
  readonly size: VolumeSize;
  readonly map: ExtentMap;
  readonly log: LogWriter;
  readonly queue: RequestQueue;
  readonly reader: PageReader;
  readonly metadata: ClusterMetadata;
  /** Of the map. */
  readonly readNode: ReadNode;
  readonly checkpointer: Checkpointer;
  readonly orders: VolumeOrders;
  readonly space: () => VolumeSpace;
  readonly clock: Clock;
  readonly logger: Log;
  /** The lease cannot have run out. */
  readonly mayServe: () => boolean;
  /** No page moves by itself any more. */
  readonly stopCleaning: () => void;
  /** Gives the epoch back, stops renewing, and lets go of readers and repairs. `kept`: all that was answered is durable. */
  readonly detach: (kept: boolean) => Promise<void>;
  /** Clients of before that must not go on. */
  readonly cut: () => Promise<CutRecord | null>;
  /** As `detach`, when there is nothing to give back any more. */
  readonly abandon: () => void;
}
