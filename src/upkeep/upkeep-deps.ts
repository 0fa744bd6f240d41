// UpkeepDeps: what the tasks of one peer's upkeep work with, the same for all of them; and how hard they may work.

import type { Clock, Log, Metrics, Random } from "#host";
import type { ClusterMetadata, VolumeState } from "#metadata";
import type { BlockRef, PeerId, PeerStore } from "#model";
import type { ClusterView } from "#volume";
import type { OwnStore } from "./own-store.ts";

export interface UpkeepOptions {
  /** A peer that was away for longer leaves the ring, and a tail whose writer was is recovered. */
  readonly repairAfterMs: number;
  /** What is sent to others, at most, while users do not notice. */
  readonly repairBytesPerSecond: number;
  /** What is left of that (0..1) while they would. */
  readonly busyShare: number;
  /** From one walk over all blocks to the next; a new ring begins one at once. */
  readonly walkEveryMs: number;
  /** How often it is looked who lives, and whether a ring can settle. */
  readonly watchEveryMs: number;
  /** How long a block once read back counts as verified. */
  readonly verifiedForMs: number;
}

export const upkeepDefaults: UpkeepOptions = {
  repairAfterMs: 10 * 60_000,
  repairBytesPerSecond: 64 * 2 ** 20,
  busyShare: 0.25,
  walkEveryMs: 60_000,
  watchEveryMs: 3000,
  verifiedForMs: 10 * 60_000,
};

export interface TailDeps {
  /** Whether a volume that nobody has attached left something to replay. */
  readonly hasTail: (state: VolumeState) => boolean;
  /** Attaches the volume without force, checkpoints and detaches it. */
  readonly recoverTail: (name: string) => Promise<void>;
}

export interface UpkeepDeps {
  readonly store: OwnStore;
  readonly metadata: ClusterMetadata;
  readonly view: ClusterView;
  /** The other peers. */
  readonly storeOf: (peer: PeerId) => PeerStore;
  /** Users would notice background work now. */
  readonly isBusy: () => boolean;
  /** Found dead and about to be collected: not worth moving. */
  readonly isCondemned: (ref: BlockRef) => boolean;
  /** What recovers the tails of logs that writers left; null: nothing does. */
  readonly tails: TailDeps | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}
