// When a process should stop: SIGTERM, SIGINT, SIGHUP, or the end of the process that started it. The first one asks; a
// second SIGINT means that the person does not want to wait, which is safe: what was answered as durable is, and the
// next attachment recovers the rest.

/** How often to look whether the parent is still there. */
const parentMs = 500;

export interface StopSignal {
  /** Resolves, with the reason, at the first request to stop. */
  readonly stop: Promise<string>;
  /**
   * From now on the end of the parent counts as well, `graceMs` after it, and a terminal's Ctrl-C is left to it. A storage daemon gives
   * what its parent also started, and which drains into it, that much time.
   */
  followParent(graceMs?: number): void;
}

/** To be called once in a process. */
export function stopSignal(onImpatient: () => void): StopSignal {
  const { promise, resolve } = Promise.withResolvers<string>();
  let following = false;
  let asked = false;
  process.on("SIGTERM", () => resolve("SIGTERM"));
  for (const signal of ["SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (following) return;
      if (asked && signal === "SIGINT") onImpatient();
      asked = true;
      resolve(signal);
    });
  }
  const followParent = (graceMs = 0) => {
    following = true;
    const gone = (reason: string) => setTimeout(() => resolve(reason), graceMs).unref();
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent) gone("the parent process has ended");
    }, parentMs).unref();
    // A parent that holds our standard input and is gone already shows there.
    process.stdin.on("error", () => {});
    process.stdin.on("end", () => gone("the parent process has closed standard input"));
    process.stdin.resume();
    // Waiting for it keeps nothing alive.
    process.stdin.unref?.();
  };
  return { stop: promise, followParent };
}
