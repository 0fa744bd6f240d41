// What a promise gives, if it does so in time.

import type { Clock, Timer } from "#host";

/** What `promise` gives, or `otherwise` when it has given nothing after `limitMs`; it goes on nevertheless. */
export async function inTime<T>(
  promise: Promise<T>,
  otherwise: T,
  limitMs: number,
  clock: Clock,
): Promise<T> {
  let timer: Timer | null = null;
  const late = new Promise<T>((resolve) => {
    timer = clock.setTimer(limitMs, () => resolve(otherwise));
  });
  const first = await Promise.race([promise, late]);
  (timer as Timer | null)?.cancel();
  return first;
}
