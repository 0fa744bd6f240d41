// The suite every BlockStore passes: in memory, on disk, simulated, stretched over TCP. It asks only what
// the seam promises; what a store offers beyond that it tests beside itself.

import { describe, test } from "node:test";
import { appendCases, sealCases } from "./store-suite-append.ts";
import { fenceCases, lifeCases } from "./store-suite-fence.ts";
import { putCases, readCases } from "./store-suite-put.ts";
import type { OpenStore } from "./store-suite-support.ts";

export type { OpenedStore, OpenStore } from "./store-suite-support.ts";
export { suiteCapacityBytes } from "./store-suite-support.ts";

/** Registers the suite's tests under `name`. */
export function storeSuite(name: string, open: OpenStore): void {
  describe(`block store: ${name}`, () => {
    const groups = { ...appendCases, ...fenceCases, ...sealCases, ...putCases, ...readCases, ...lifeCases };
    for (const [title, run] of Object.entries(groups)) {
      test(title, async (context) => {
        const opened = await open();
        try {
          if (title.startsWith("after a restart") && opened.reopen === undefined)
            context.skip("cannot reopen");
          else if (title.includes("rot") && opened.corrupt === undefined) context.skip("cannot corrupt");
          else await run(opened);
        } finally {
          await opened.close();
        }
      });
    }
  });
}
