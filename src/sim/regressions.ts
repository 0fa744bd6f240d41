// Seeds that once showed a bug, each with what it was. They run with the tests for ever: a seed is a history, and history repeats.
// A change of the simulator that changes what a seed means takes the seed's worth with it; the sentence stays, as a reminder of
// what to look for.

export interface Regression {
  readonly seed: number;
  readonly bug: string;
}

export const regressions: readonly Regression[] = [
  {
    seed: 113,
    bug: "A checkpoint taken between two blocks named its position as the start of a block that was never opened, and recovery refused the log that ended right there as cut short: the volume could not be attached any more.",
  },
  {
    seed: 151,
    bug: "The same, after a peer was struck.",
  },
  {
    seed: 16,
    bug: "An attach whose lease ran out while the metadata service was slow was refused as if the volume did not exist.",
  },
];
