// Time that all processes of one machine share: leases in the embedded store are counted by it. Wall clock jumps do not
// touch it, and another boot starts another count.

export interface BootClock {
  /** Another text after each boot of the machine. */
  readonly bootId: string;
  /** Milliseconds of this boot by CLOCK_MONOTONIC: the same in every process. */
  monotonicMs(): number;
}
