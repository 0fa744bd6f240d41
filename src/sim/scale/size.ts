// How large a cluster is simulated, and what of it. Blocks are a sample: each stands for as many bytes as it takes for the peers to be as full as they are
// said to be. Everything else is there one by one.

export interface ScaleSize {
  readonly seed: number;
  readonly peers: number;
  /** As many peers each, and one copy of a block at most. */
  readonly racks: number;
  readonly replicas: number;
  readonly volumes: number;
  /** Part of the volumes that are attached and written. */
  readonly writtenShare: number;
  /** Of each peer. */
  readonly diskBytes: number;
  readonly usedShare: number;
  /** Blocks of the sample on each peer, about. */
  readonly sampledBlocks: number;
  /** What each peer sends at most to move and repair. */
  readonly repairBytesPerSecond: number;
  /** What a disk takes of what is sent to it. */
  readonly diskBytesPerSecond: number;
  readonly repairAfterMs: number;
  /** For how long nothing happens, to see what that costs. */
  readonly steadyMs: number;
  /** Of real blocks: what an INode lists is counted by it. */
  readonly blockBytes: number;
}

const common = {
  seed: 1,
  replicas: 3,
  writtenShare: 0.3,
  diskBytes: 2 * 2 ** 40,
  usedShare: 0.25,
  repairBytesPerSecond: 64 * 2 ** 20,
  diskBytesPerSecond: 500 * 2 ** 20,
  repairAfterMs: 10 * 60_000,
  steadyMs: 15 * 60_000,
  blockBytes: 4 * 2 ** 20,
};

export const largeSize: ScaleSize = {
  ...common,
  peers: 500,
  racks: 20,
  volumes: 10_000,
  sampledBlocks: 64,
};

/** For a test: little data, so that it moves in minutes. */
export const smallSize: ScaleSize = {
  ...common,
  peers: 15,
  racks: 5,
  volumes: 60,
  diskBytes: 64 * 2 ** 30,
  sampledBlocks: 48,
  repairAfterMs: 60_000,
  steadyMs: 3 * 60_000,
};
