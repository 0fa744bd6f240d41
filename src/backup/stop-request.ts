// A person, or the system, wants a long copy to end.

import { TorusError } from "#model";

/** Throws `closed` once `signal` was given. */
export function requireGoingOn(signal: AbortSignal): void {
  if (signal.aborted) throw new TorusError("closed", `stopped by ${String(signal.reason)}`);
}
