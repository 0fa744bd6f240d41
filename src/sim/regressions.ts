// Seeds that once showed a bug, each with what it was. They run with the tests for ever: a seed is a history, and history repeats.
// A change of the plans changes what seeds mean; then look for new ones with the repair taken out, and write them down here.

import type { FaultKind, Plan } from "./plan.ts";
import { quiet } from "./plan.ts";

export interface Regression {
  readonly seed: number;
  /** Only these kinds of faults; without it the seed's own. */
  readonly kinds?: readonly FaultKind[];
  /** What of the plan the seed does not choose. */
  readonly plan?: Partial<Plan>;
  readonly bug: string;
}

export const regressions: readonly Regression[] = [
  {
    seed: 8,
    bug: "a durable position at the end of a block was named as the start of the next, which was never written, and recovery refused for good the log that ended right there",
    plan: quiet,
  },
  {
    seed: 56,
    bug: "the same in a head: a checkpoint between two blocks named its position as the start of the next",
    plan: quiet,
  },
  {
    seed: 40,
    bug: "a flush of pages that were appended again, because their block had too few copies left, waited until somebody wrote something else",
    plan: quiet,
  },
  {
    seed: 38,
    bug: "an attach failed with the error of one peer that restarted between two reads of the log's tail",
    plan: quiet,
  },
  {
    seed: 3,
    bug: "an attach whose lease ran out while the metadata service was slow was refused as if the volume did not exist",
    plan: quiet,
  },
  {
    seed: 11,
    kinds: ["peer-kill", "client-kill"],
    bug: "that of seed 56, in another history",
    plan: { ...quiet, peers: 5 },
  },
  {
    seed: 57,
    kinds: ["peer-kill", "partition"],
    bug: "that of seed 40, in another history",
    plan: { ...quiet, clients: 1 },
  },
  {
    seed: 1,
    kinds: ["metadata-partition", "metadata-down", "metadata-trouble"],
    bug: "that of seed 3, in another history",
    plan: { ...quiet, leaseTtlMs: 1500 },
  },
  {
    seed: 20001218,
    bug: "whoever took a snapshot of a volume that nobody had waited for space in a full pool, for ever, and kept the volume from everybody",
  },
  {
    seed: 5313,
    bug: "a backup of the metadata that was put back after all peers had lost power was noticed by none, and so could not be adopted",
  },
  {
    seed: 20001432,
    kinds: ["peer-kill", "metadata-partition", "slow-disk", "wall-jump", "clock-drift"],
    bug: "pages whose blocks were given up twice before a checkpoint found no room in the window, which the checkpoint waited for: writes and flushes stood for ever",
  },
  {
    seed: 60000843,
    bug: "the first attach after an adoption failed with the error of a disk of one peer, where it is to say for whom it waits",
  },
  {
    seed: 80000367,
    kinds: ["peer-kill", "partition", "metadata-down", "clock-drift", "takeover", "metadata-back"],
    bug: "a backup of the metadata that was made while a volume was being attached, and put back: whoever attached before the peers looked got the volume as of then, and what had been flushed since was lost",
  },
  {
    seed: 110000170,
    bug: "the first recovery under adopted metadata took the copy of a peer that had been struck since the backup for the end of the log, where all others had given up theirs",
  },
  {
    seed: 120000135,
    kinds: [
      "peer-kill",
      "peer-power",
      "partition",
      "metadata-partition",
      "reset",
      "slow",
      "wall-jump",
      "metadata-back",
    ],
    bug: "a peer collected by metadata that went back, which it had forgotten and another peer had noticed; blocks that the right metadata needs were gone when that was put back",
  },
  {
    seed: 70005131,
    kinds: ["takeover", "metadata-back", "metadata-down", "peer-kill", "client-power"],
    bug: "what peers had said of dead blocks before the metadata went back counted for tombstones of after it was adopted: the volumes became unknown ones, whose blocks stayed, and the union of rings never settled",
  },
  {
    seed: 70007095,
    kinds: ["takeover", "metadata-back", "metadata-down", "peer-power", "partition", "ring"],
    bug: "adopting metadata gave out versions of rings again that peers had in their memory and had not written down, and a peer placed a log by a ring that did not exist any more",
  },
];
