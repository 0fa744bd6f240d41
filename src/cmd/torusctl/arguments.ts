// Arguments as people type them, checked and explained.

import { TorusError } from "#model";

/** A whole number in [minimum, maximum]; throws `invalid-argument` naming `what`. */
export function parseCount(what: string, minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (count >= minimum && count <= maximum) return count;
    throw new TorusError(
      "invalid-argument",
      `${what} "${text}" is not possible: use a whole number from ${minimum} to ${maximum}`,
    );
  };
}
