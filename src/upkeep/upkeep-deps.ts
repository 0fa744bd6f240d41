// UpkeepDeps: what the tasks of one peer's upkeep work with, the same for all of them; and how hard they may work.

import type { Clock, Log, Metrics, Random } from "#host";
import type { ClusterMetadata, ScrubRegistry, VolumeState } from "#metadata";
import type { PeerId, PeerStore } from "#model";
import type { ClusterView, NeededBlocks } from "#volume";
import type { Guard } from "./latency-guard.ts";
import type { OwnStore } from "./own-store.ts";
import type { ScrubNote } from "./scrubber.ts";

export interface UpkeepOptions {
  /** A peer that was away for longer leaves the ring, and a tail whose writer was is recovered. */
  readonly repairAfterMs: number;
  /** What is sent to others, and what is taken from them, at most; less while users would notice. */
  readonly repairBytesPerSecond: number;
  /** From one walk over all blocks to the next; a new ring begins one at once. */
  readonly walkEveryMs: number;
  /** To the next walk when one left something to do, or others wait for it. */
  readonly walkAgainMs: number;
  /** How often it is looked who lives, and whether a ring can settle. */
  readonly watchEveryMs: number;
  /** How long a block once read back counts as verified. */
  readonly verifiedForMs: number;
  /** A dead block is kept at least so long after it was found dead. */
  readonly collectGraceMs: number;
  /** Every sealed block is looked at within it. */
  readonly scrubPeriodMs: number;
}

export const upkeepDefaults: UpkeepOptions = {
  repairAfterMs: 10 * 60_000,
  repairBytesPerSecond: 64 * 2 ** 20,
  walkEveryMs: 60_000,
  walkAgainMs: 5000,
  watchEveryMs: 3000,
  verifiedForMs: 10 * 60_000,
  collectGraceMs: 60_000,
  scrubPeriodMs: 7 * 24 * 3_600_000,
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
  /** What is left of budgets beside users. */
  readonly guard: Guard;
  /** False while the metadata may be of an earlier time than blocks here [C7]. */
  readonly mayDelete?: () => boolean;
  /** Where the scrubber writes down how far it is. */
  readonly scrubNote: ScrubNote;
  /** Where operators ask for a scrub; null: nobody can. */
  readonly scrubs: ScrubRegistry | null;
  /** What INodes need; given only by a simulation that breaks it. */
  readonly needed?: Pick<NeededBlocks, "walk">;
  /** What recovers the tails of logs that writers left; null: nothing does. */
  readonly tails: TailDeps | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}
