// Seeds that once showed a bug, each with what it was. They run with the tests for ever: a seed is a history, and history repeats.
// A change of the plans changes what seeds mean; then look for new ones with the repair taken out, and write them down here.

export interface Regression {
  readonly seed: number;
  readonly bug: string;
  /** Found when volumes were not cleaned: with cleaning it is another history. */
  readonly quiet?: boolean;
}

export const regressions: readonly Regression[] = [
  {
    seed: 8,
    bug: "a durable position at the end of a block was named as the start of the next, which was never written, and recovery refused for good the log that ended right there",
    quiet: true,
  },
  {
    seed: 56,
    bug: "the same in a head: a checkpoint between two blocks named its position as the start of the next",
    quiet: true,
  },
  {
    seed: 40,
    bug: "a flush of pages that were appended again, because their block had too few copies left, waited until somebody wrote something else",
    quiet: true,
  },
  {
    seed: 38,
    bug: "an attach failed with the error of one peer that restarted between two reads of the log's tail",
    quiet: true,
  },
  {
    seed: 3,
    bug: "an attach whose lease ran out while the metadata service was slow was refused as if the volume did not exist",
    quiet: true,
  },
];
