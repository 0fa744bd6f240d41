// The outside world as interfaces: time, randomness, log, counters. Production passes #host/node, the simulator
// its own. Nothing else in the project may reach for a clock, a timer or a random number.

/** A timer that has been set. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds that only go forward while the machine runs (fractions allowed). */
  monotonicMs(): number;
  /** Milliseconds since 1970 UTC; may jump. */
  wallMs(): number;
  /** Calls back once after `delayMs`; never before the current turn ends. */
  setTimer(delayMs: number, callback: () => void): Timer;
}

export interface Random {
  bytes(count: number): Uint8Array;
  /** Uniform in 0 .. 2^32-1. */
  uint32(): number;
  /** A random UUID (version 4). */
  uuid(): string;
}

export type LogFields = Readonly<Record<string, unknown>>;

/** Messages are sentences; values go in `fields`. Never called per I/O. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  child(fields: LogFields): Log;
}

/** A promise that resolves after `delayMs` of `clock`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve);
  });
}
