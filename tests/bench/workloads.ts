// The workloads of the benchmark: what fio does to a volume, in the order in which it is done.

export interface Workload {
  readonly name: string;
  /** Of fio. */
  readonly flags: readonly string[];
  /** Latency is measured at half of its speed too. */
  readonly isHalvedToo: boolean;
}

const of = (name: string, depth: number, ...flags: string[]): Workload => ({
  name,
  flags: [`--iodepth=${depth}`, ...flags],
  isHalvedToo: false,
});

/** What is touched later is written first, so that no read finds a hole. */
export const fill = of("fill", 8, "--rw=write", "--bs=1m", "--end_fsync=1");

export const workloads: readonly Workload[] = [
  { ...of("randwrite-4k-q32", 32, "--rw=randwrite", "--bs=4k"), isHalvedToo: true },
  of("randwrite-4k-q1", 1, "--rw=randwrite", "--bs=4k"),
  of("randwrite-4k-q1-fsync1", 1, "--rw=randwrite", "--bs=4k", "--fsync=1"),
  of("randwrite-4k-q32-fsync32", 32, "--rw=randwrite", "--bs=4k", "--fsync=32"),
  { ...of("randread-4k-q32", 32, "--rw=randread", "--bs=4k"), isHalvedToo: true },
  of("randread-4k-q1", 1, "--rw=randread", "--bs=4k"),
  of("randrw75-64k-q64", 64, "--rw=randrw", "--rwmixread=75", "--bs=64k"),
  of("write-1m-q8", 8, "--rw=write", "--bs=1m"),
  of("read-1m-q8", 8, "--rw=read", "--bs=1m"),
];
