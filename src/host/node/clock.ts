// The machine's clocks and timers. Monotonic time is the process's own high-resolution clock; wall time may jump
// when an operator or NTP sets it, so nothing may measure a span with it alone.

import { readFileSync } from "node:fs";
import type { Clock, Timer } from "#host";
import { assert } from "#model";

/** Node fires a timer at once when its delay does not fit 31 bits: longer ones are waited for in parts. */
const timerMsMax = 2 ** 31 - 1;

function setTimer(delayMs: number, callback: () => void): Timer {
  assert(!Number.isNaN(delayMs), "a timer's delay is a number");
  let remainingMs = Math.max(0, delayMs);
  let handle: NodeJS.Timeout;
  const wait = (): void => {
    const partMs = Math.min(remainingMs, timerMsMax);
    remainingMs -= partMs;
    // Rounded up: Node cuts fractions off, and a timer must not fire early.
    handle = setTimeout(remainingMs > 0 ? wait : callback, Math.ceil(partMs));
  };
  wait();
  return { cancel: () => clearTimeout(handle) };
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer,
};

/** Time that all processes of this machine share, and a text that is another after each boot. */
export function openBootClock(): { readonly bootId: string; monotonicMs(): number } {
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  // Node's hrtime is CLOCK_MONOTONIC as it is, unlike performance.now, which counts from the start of the process.
  return { bootId, monotonicMs: () => Number(process.hrtime.bigint()) / 1e6 };
}
