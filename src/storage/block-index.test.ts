// BlockIndex against a Map, over random changes.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BlockRef } from "#model";
import { blockRefKey } from "#model";
import { BlockIndex } from "./block-index.ts";
import { compareBlockRefs } from "./block-order.ts";

const anyRef = fc.record(
  {
    type: fc.constantFrom(0, 1),
    volume: fc.constantFrom(1, 2, 2 ** 40 - 1),
    epoch: fc.constantFrom(1, 2 ** 33),
    index: fc.integer({ min: 1, max: 12 }),
  },
  { noNullPrototype: true },
);
const anyChange = fc.record({ ref: anyRef, kind: fc.constantFrom("set", "set", "delete") });

test("finds, lists and pages what a map and a sort would", () => {
  fc.assert(
    fc.property(
      fc.array(anyChange, { maxLength: 80 }),
      anyRef,
      fc.integer({ min: 1, max: 9 }),
      (changes, probe, limit) => {
        const index = new BlockIndex();
        const model = new Map<string, { ref: BlockRef; slot: number }>();
        for (const [slot, { ref, kind }] of changes.entries()) {
          if (kind === "set") {
            index.set(ref, slot);
            model.set(blockRefKey(ref), { ref, slot });
          } else {
            index.delete(ref);
            model.delete(blockRefKey(ref));
          }
        }
        const sorted = [...model.values()].sort((a, b) => compareBlockRefs(a.ref, b.ref));
        assert.equal(index.size, sorted.length);
        for (const { ref, slot } of sorted) assert.equal(index.find(ref), slot);
        assert.equal(index.find(probe), model.get(blockRefKey(probe))?.slot ?? -1);
        assert.deepEqual(index.after(null, 1000), sorted);
        const beyond = sorted.filter(({ ref }) => compareBlockRefs(ref, probe) > 0);
        assert.deepEqual(index.after(probe, limit), beyond.slice(0, limit));
        const group = sorted.filter(
          ({ ref }) => ref.volume === probe.volume && ref.epoch === probe.epoch && ref.type === probe.type,
        );
        assert.deepEqual(index.group(probe.volume, probe.epoch, probe.type), group);
      },
    ),
    { numRuns: 300 },
  );
});
