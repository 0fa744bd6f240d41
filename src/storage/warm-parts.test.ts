// WarmParts against a plain set, and what it forgets first.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WarmParts } from "./warm-parts.ts";

const segmentParts = 40;
const range = fc
  .tuple(fc.integer({ min: 0, max: 3 }), fc.nat(segmentParts - 1), fc.integer({ min: 1, max: segmentParts }))
  .map(([segment, first, count]) => ({ segment, first, end: Math.min(segmentParts, first + count) }));

test("with room for all it is a set of parts", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), range)), range, (changes, asked) => {
      const warm = new WarmParts({ segmentParts, partsMax: 1000 });
      const known = new Set<string>();
      for (const [adds, { segment, first, end }] of changes) {
        if (adds) warm.add(segment, first, end);
        else warm.drop(segment, first, end);
        for (let part = first; part < end; part++) {
          if (adds) known.add(`${segment}.${part}`);
          else known.delete(`${segment}.${part}`);
        }
      }
      assert.equal(warm.size, known.size);
      const all = Array.from(
        { length: asked.end - asked.first },
        (_, i) => `${asked.segment}.${asked.first + i}`,
      );
      assert.equal(
        warm.has(asked.segment, asked.first, asked.end),
        all.every((part) => known.has(part)),
      );
    }),
  );
});

test("what was longest without something new is forgotten first, and never more is known than may be", () => {
  const warm = new WarmParts({ segmentParts, partsMax: 20 });
  warm.add(1, 0, 10);
  warm.add(2, 0, 8);
  assert.equal(warm.isFull, false);
  warm.add(1, 10, 12);
  assert.equal(warm.isFull, true);
  warm.add(3, 5, 6);
  assert.ok(warm.has(1, 0, 12) && warm.has(3, 5, 6));
  assert.equal(warm.has(2, 0, 1), false);
  assert.equal(warm.size, 13);
});
