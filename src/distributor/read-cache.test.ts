// ReadCache against a plain map: what it has is right, and never is there more than may be.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Metrics } from "#host";
import type { BlockRef } from "#model";
import { pageBytes } from "#model";
import { ReadCache } from "./read-cache.ts";

const cacheOf = (pages: number): ReadCache =>
  new ReadCache({ bytesMax: pages * pageBytes }, { metrics: new Metrics() });
const refOf = (index: number): BlockRef => ({ type: 0, volume: 1 + (index % 2), epoch: 1, index });
const take = (bytes: number): Uint8Array => new Uint8Array(bytes);

/** What page `page` of block `index` has in it. */
function contentOf(index: number, page: number, count = 1): Uint8Array {
  const bytes = new Uint8Array(count * pageBytes);
  for (let i = 0; i < count; i++)
    bytes.fill(1 + ((index * 31 + page + i) % 255), i * pageBytes, (i + 1) * pageBytes);
  return bytes;
}

const range = fc.record({ index: fc.nat(5), page: fc.nat(40), count: fc.integer({ min: 1, max: 12 }) });
const step = fc.oneof(
  fc.record({ kind: fc.constant("add" as const), range }),
  fc.record({ kind: fc.constant("read" as const), range }),
  fc.record({ kind: fc.constant("distrust" as const), range }),
);

test("what it gives is what was put in, and it gives nothing in part", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const cache = cacheOf(30);
      for (const { kind, range } of steps) {
        const { index, page, count } = range;
        const [offset, length] = [page * pageBytes, count * pageBytes];
        if (kind === "add") {
          cache.add(refOf(index), offset, contentOf(index, page, count));
          assert.ok(
            cache.has(refOf(index), offset + length - pageBytes, pageBytes),
            "the newest page is here",
          );
        } else if (kind === "distrust") {
          cache.distrust(refOf(index));
          assert.equal(cache.readNow(refOf(index), offset, length, take), null);
        } else {
          const known = cache.has(refOf(index), offset, length);
          const read = cache.readNow(refOf(index), offset, length, take);
          assert.equal(read !== null, known);
          if (read !== null) assert.deepEqual(read, contentOf(index, page, count));
        }
        assert.ok(cache.bytes <= 30 * pageBytes);
      }
    }),
  );
});

test("what is read stays longer than what is not", () => {
  const cache = cacheOf(20);
  cache.add(refOf(1), 0, contentOf(1, 0));
  for (let page = 0; page < 200; page++) {
    assert.notEqual(cache.readNow(refOf(1), 0, pageBytes, take), null, `after ${page} others`);
    cache.add(refOf(2), page * pageBytes, contentOf(2, page));
  }
  assert.equal(cache.bytes, 20 * pageBytes);
});

test("pages that are here are not put in twice, and a cache of nothing keeps nothing", () => {
  const cache = cacheOf(20);
  cache.add(refOf(1), 0, contentOf(1, 0, 4));
  cache.add(refOf(1), pageBytes, contentOf(1, 1, 4));
  assert.equal(cache.bytes, 5 * pageBytes);
  const none = cacheOf(0);
  none.add(refOf(1), 0, contentOf(1, 0, 4));
  assert.equal(none.bytes, 0);
  assert.equal(none.readNow(refOf(1), 0, pageBytes, take), null);
});
