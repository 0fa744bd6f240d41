// RefMap against a map by the refs' texts.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { blockRefKey } from "./block-ref.ts";
import { RefMap } from "./ref-map.ts";

const small = fc.integer({ min: 1, max: 3 });
const refs = fc.record({ type: fc.integer({ min: 0, max: 1 }), volume: small, epoch: small, index: small });

test("it is a map", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), refs)), (steps) => {
      const map = new RefMap<number>();
      const known = new Map<string, number>();
      for (const [step, [kind, ref]] of steps.entries()) {
        if (kind === 0) {
          map.delete(ref);
          known.delete(blockRefKey(ref));
        } else if (kind === 5 && step % 7 === 0) {
          map.clear();
          known.clear();
        } else {
          map.set(ref, step);
          known.set(blockRefKey(ref), step);
        }
        assert.equal(map.size, known.size);
        assert.equal(map.get(ref), known.get(blockRefKey(ref)));
      }
      assert.deepEqual([...map.values()].sort(), [...known.values()].sort());
    }),
  );
});
