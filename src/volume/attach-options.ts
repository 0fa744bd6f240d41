// What attaching a volume takes.

import type { Clock, Log, Metrics, Random } from "#host";
import type { Boot, ClusterMetadata } from "#metadata";
import type { BlockRef, BlockStore, PeerId } from "#model";
import type { CleanerOptions } from "./cleaner.ts";
import type { ClusterView } from "./cluster-view.ts";

/**
 * Where those may be who use the volume through this attachment and come back by themselves when it has gone: on the machine this process
 * runs on, anywhere, or nowhere, because they end with this process.
 */
export type ClientsReach = "none" | "here" | "anywhere";
/** Sizes and times of the log and its checkpoints. Production has the defaults; the simulator makes rare states common. */
export interface AttachTuning {
  /** A checkpoint is due after this much log, this many changed leaves, or this long with something new. */
  readonly checkpointBytes: number;
  readonly checkpointLeavesMax: number;
  readonly checkpointEveryMs: number;
  /** Bytes of the log kept until they are sealed on every member; never less than four blocks. */
  readonly windowBytesMin: number;
  /** How often peers that were left out are asked whether they are back. */
  readonly returnEveryMs: number;
}

export const attachTuningDefaults: AttachTuning = {
  checkpointBytes: 512 * 1024 * 1024,
  checkpointLeavesMax: 4096,
  checkpointEveryMs: 30_000,
  windowBytesMin: 64 * 1024 * 1024,
  returnEveryMs: 1000,
};

export interface AttachOptions {
  readonly name: string;
  readonly force: boolean;
  /** Host name and pid, for messages. */
  readonly holder: string;
  /** The machine this process runs on, since its last start; null when that is not known. */
  readonly here: Boot | null;
  readonly clients: ClientsReach;
  readonly leaseTtlMs: number;
  readonly writeCacheBytes: number;
  readonly mapCacheBytes: number;
  /** How long silent peers are waited for before attaching fails. */
  readonly attachTimeoutMs: number;
  /** How long detaching waits for peers before it leaves the log's end to the next attach. */
  readonly closeTimeoutMs: number;
  /** How garbage is turned into space; null: it is left alone. */
  readonly cleaner: CleanerOptions | null;
  /** Without it `attachTuningDefaults`. */
  readonly tuning?: AttachTuning;
}

export interface AttachDeps {
  readonly metadata: ClusterMetadata;
  readonly view: ClusterView;
  readonly storeOf: (peer: PeerId) => BlockStore;
  /** Something besides the volume's head needs the block: cleaning it would give no space back. */
  readonly isPinned: (ref: BlockRef) => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}
