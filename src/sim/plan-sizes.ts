// How much memory the clients of a run have, and how often they make checkpoints.

import { attachTuningDefaults } from "#volume";
import type { Plan } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

type PlanSizes = Pick<Plan, "writeCacheBytes" | "mapCacheBytes" | "readCacheBytes" | "tuning">;

/** Often the ones in production, often so small that what is rare there happens all the time. */
export function sizesOf(random: SeededRandom, readCache: SeededRandom): PlanSizes {
  const { checkpointBytes, checkpointEveryMs, windowBytesMin } = attachTuningDefaults;
  return {
    writeCacheBytes: random.pick([16 * 1024, 256 * 1024]),
    mapCacheBytes: random.pick([1, 4 * 2 ** 20]),
    readCacheBytes: readCache.pick([0, 128 * 1024, 2 ** 20]),
    tuning: {
      ...attachTuningDefaults,
      checkpointBytes: random.pick([96 * 1024, 2 ** 20, checkpointBytes]),
      checkpointEveryMs: random.pick([400, 3000, checkpointEveryMs]),
      windowBytesMin: random.pick([0, windowBytesMin]),
      returnEveryMs: random.pick([150, 1000]),
      fullPatienceMs: 1000,
    },
  };
}
