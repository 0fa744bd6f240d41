// One change of the cluster's metadata, decided from a fresh read and committed by a guarded transaction, with bounded
// retries. The outcome of a transaction that timed out is unknown: it may have happened, or may happen later. So
// every attempt reads again first and is told so (`uncertain`); it must recognize its own write, and its guards must
// make a late commit of an earlier attempt and this one exclude each other. What remains unknown at the end is said.

import type { Clock, Random } from "#host";
import { sleep } from "#host";
import { isTorusError, TorusError } from "#model";
import type { Change, Guard, MetadataService } from "./service.ts";

export interface ChangeDeps {
  readonly service: MetadataService;
  readonly clock: Clock;
  readonly random: Random;
}

/** What an attempt decided: nothing is left to do, or this transaction. */
export type Decision<Result> =
  | { readonly done: Result }
  | {
      readonly guards: readonly Guard[];
      readonly changes: readonly Change[];
      /** The result once committed at `revision`. */
      result(revision: number): Result;
    };

/**
 * Reads and decides; throws `TorusError` to give up. `uncertain`: an earlier attempt of this call may have committed, so a state that
 * looks like its work is its work.
 */
export type Attempt<Result> = (uncertain: boolean) => Promise<Decision<Result>>;

export const changeAttemptsMax = 12;
const backoffMsMin = 2;
const backoffMsMax = 250;

/**
 * Runs `attempt` until it is done. `what` names the change in messages. Rejects with what `attempt` threw; `conflict` when others kept getting in between; `timeout` when the
 * outcome is unknown (calling again with the same values is safe); `unavailable` when it certainly did not happen.
 */
export async function commitChange<Result>(
  what: string,
  deps: ChangeDeps,
  attempt: Attempt<Result>,
): Promise<Result> {
  let uncertain = false;
  let failure: unknown = null;
  for (let count = 0; count < changeAttemptsMax; count++) {
    if (count > 1 || failure !== null) await sleep(deps.clock, backoffMs(count, deps.random));
    try {
      const decision = await attempt(uncertain);
      if ("done" in decision) return decision.done;
      let transaction: Awaited<ReturnType<MetadataService["transact"]>>;
      try {
        transaction = await deps.service.transact(decision.guards, decision.changes);
      } catch (error) {
        if (isTorusError(error, "timeout", "unavailable")) uncertain = true;
        throw error;
      }
      if (transaction.committed) return decision.result(transaction.revision);
      failure = null;
    } catch (error) {
      if (!isTorusError(error, "timeout", "unavailable")) throw error;
      failure = error;
    }
  }
  throw exhausted(what, deps.service.url, uncertain, failure);
}

function exhausted(what: string, url: string, uncertain: boolean, cause: unknown): TorusError {
  if (uncertain) {
    const claim = `whether ${what} happened is unknown: the metadata service ${url} did not answer; try again`;
    return new TorusError("timeout", claim, {}, { cause });
  }
  if (cause !== null) {
    return new TorusError(
      "unavailable",
      `cannot ${what}: the metadata service ${url} does not answer`,
      {},
      { cause },
    );
  }
  return new TorusError("conflict", `cannot ${what}: others kept changing the same metadata; try again`);
}

/** Doubles from attempt to attempt; half of it random, so that clients in step fall out of it. */
function backoffMs(count: number, random: Random): number {
  const ceiling = Math.min(backoffMsMax, backoffMsMin * 2 ** count);
  return ceiling / 2 + (ceiling / 2) * (random.uint32() / 2 ** 32);
}
