// What attaching a volume takes, and what a volume is given of it.

import type { ReadCache } from "#distributor";
import type { Clock, Log, Metrics, Random, ReusedMemory } from "#host";
import type { Boot, ClusterMetadata, VolumeSpec } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { pageBytes } from "#model";
import type { BlockDeviceInfo } from "./block-device.ts";
import type { CleanerOptions } from "./cleaner.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { VolumeOptions } from "./volume-parts.ts";

/**
 * Where those may be who use the volume through this attachment and come back by themselves when it has gone: on the machine this process
 * runs on, anywhere, or nowhere, because they end with this process.
 */
export type ClientsReach = "none" | "here" | "anywhere";

/** An attachment for a device of a kernel, which may outlive it and then wait for the next. */
export interface DeviceClaim {
  /** Names of devices that wait here: the volume's own goes on, if nobody else has attached it since and nothing that it was answered is lost. */
  readonly resume: readonly string[];
  /** The name of the device it becomes otherwise: random, at most 64 characters. */
  readonly fresh: string;
}

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
  /** On a full pool new data waits so long for space that is on its way. */
  readonly fullPatienceMs: number;
}

export const attachTuningDefaults: AttachTuning = {
  checkpointBytes: 512 * 1024 * 1024,
  checkpointLeavesMax: 4096,
  checkpointEveryMs: 30_000,
  windowBytesMin: 64 * 1024 * 1024,
  returnEveryMs: 1000,
  fullPatienceMs: 30_000,
};

export interface AttachOptions {
  readonly name: string;
  readonly force: boolean;
  /** Host name and pid, for messages. */
  readonly holder: string;
  /** The machine this process runs on, since its last start; null when that is not known. */
  readonly here: Boot | null;
  readonly clients: ClientsReach;
  /** "keep": nothing is changed that a waiting device might have in memory. Not given: none. */
  readonly device?: DeviceClaim | "keep" | null;
  readonly leaseTtlMs: number;
  readonly writeCacheBytes: number;
  readonly mapCacheBytes: number;
  /** What the log may keep now; `tuning` says when not given. */
  readonly windowBytesMax?: () => number;
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
  /** Of all volumes. */
  readonly readCache: ReadCache;
  /** For what is being read, of all volumes. */
  readonly readMemory: ReusedMemory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** The attachment is over, or did not come about. */
  readonly onEnded?: () => void;
}

/** Bytes of the log kept until they are sealed on every member: four blocks at least, or it would wait for itself. */
export function windowBytesOf({ tuning, windowBytesMax }: AttachOptions, blockBytes: number): number {
  const { windowBytesMin } = tuning ?? attachTuningDefaults;
  return Math.max(Math.min(windowBytesMin, windowBytesMax?.() ?? windowBytesMin), 4 * blockBytes);
}

/** How a volume shows itself. */
export function infoOf({ name, sizeBytes }: VolumeSpec): BlockDeviceInfo {
  const description = `Torus volume ${name}`;
  return { name, sizeBytes, readOnly: false, preferredBytes: pageBytes, description };
}

/** What `spec` and the options of its attachment make of a volume. */
export function volumeOptionsOf(spec: VolumeSpec, options: AttachOptions): VolumeOptions {
  const { checkpointBytes, checkpointLeavesMax, checkpointEveryMs } = options.tuning ?? attachTuningDefaults;
  return {
    unheldBytesMax: spec.acknowledge === "writeback" ? options.writeCacheBytes : 0,
    checkpointBytes,
    checkpointLeaves: Math.min(checkpointLeavesMax, Math.max(64, Math.floor(options.mapCacheBytes / 12_288))),
    checkpointEveryMs,
    closeTimeoutMs: options.closeTimeoutMs,
  };
}
