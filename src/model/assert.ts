// Assertions are for our own mistakes. They stay on in production and stop the process: going on
// with a broken invariant is how data is lost.

export class AssertionFailure extends Error {
  override readonly name = "AssertionFailure";
}

/** Stops with `AssertionFailure` unless `condition` holds; `claim` says what must be true. */
export function assert(condition: unknown, claim: string): asserts condition {
  if (!condition) throw new AssertionFailure(`assertion failed: ${claim}`);
}

/** For the end of an exhaustive switch: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`assertion failed: unreachable value ${JSON.stringify(value)}`);
}
