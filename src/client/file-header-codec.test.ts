// The first page of a file: the bytes that it always had, and anything else refused.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { isTorusError, pageBytes } from "#model";
import { decodeFileHeader, encodeFileHeader, fileBytesMax } from "./file-header-codec.ts";

const golden = Buffer.from(
  readFileSync(join(import.meta.dirname, "testdata/file-header-1.hex"), "latin1").trim(),
  "hex",
);

test("the first page of a file has the bytes that version 1 has", () => {
  const page = encodeFileHeader(1_234_567);
  assert.deepEqual(page.subarray(0, 24), golden.subarray(0, 24));
  assert.deepEqual(page.subarray(pageBytes - 4), golden.subarray(24));
  assert.ok(page.subarray(24, pageBytes - 4).every((byte) => byte === 0));
});

test("every length is read as it was written; a page of zeroes is an empty file", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: fileBytesMax }), (length) => {
      assert.equal(decodeFileHeader(encodeFileHeader(length)), length);
    }),
  );
  assert.equal(decodeFileHeader(new Uint8Array(pageBytes)), 0);
});

test("a page with any byte changed is refused", () => {
  const page = encodeFileHeader(5000);
  const change = fc.tuple(fc.nat(pageBytes - 1), fc.integer({ min: 1, max: 255 }));
  fc.assert(
    fc.property(change, ([at, by]) => {
      const changed = Buffer.from(page);
      changed[at] ^= by;
      assert.throws(
        () => decodeFileHeader(changed),
        (error) => isTorusError(error, "corrupt"),
      );
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 64 }), (bytes) => {
      const random = Buffer.alloc(pageBytes);
      random.set(bytes);
      if (!random.every((byte) => byte === 0))
        assert.throws(
          () => decodeFileHeader(random),
          (error) => isTorusError(error, "corrupt"),
        );
    }),
  );
  assert.throws(
    () => decodeFileHeader(page.subarray(1)),
    (error) => isTorusError(error, "corrupt"),
  );
});
