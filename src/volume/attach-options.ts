// What attaching a volume takes.

import type { Clock, Log, Metrics, Random } from "#host";
import type { Boot, ClusterMetadata } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import type { ClusterView } from "./cluster-view.ts";

/**
 * Where those may be who use the volume through this attachment and come back by themselves when it has gone: on the machine this process
 * runs on, anywhere, or nowhere, because they end with this process.
 */
export type ClientsReach = "none" | "here" | "anywhere";

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
}

export interface AttachDeps {
  readonly metadata: ClusterMetadata;
  readonly view: ClusterView;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}
