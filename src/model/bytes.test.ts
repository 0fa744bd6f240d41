// Sizes as people write them: what is taken, and what is refused with which words.

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBytes, parseBytes } from "./bytes.ts";
import { isTorusError } from "./errors.ts";

test("sizes with and without units, binary and decimal", () => {
  const taken: [string, number][] = [
    ["512", 512],
    ["4k", 4096],
    ["20GiB", 20 * 2 ** 30],
    ["1.5TiB", 1.5 * 2 ** 40],
    ["10GB", 1e10],
    [" 1 MiB ", 2 ** 20],
  ];
  for (const [text, bytes] of taken) assert.equal(parseBytes(text, "size"), bytes, text);
});

test("what is not a size is refused, and the message says why", () => {
  for (const text of ["", "0", "-1", "1.5.2GiB", "ten", "1e9", "0x10", "5XiB", "0.3", "NaN", "Infinity"]) {
    assert.throws(
      () => parseBytes(text, "size"),
      (error) =>
        isTorusError(error, "invalid-argument") && error.message.includes(`size "${text}" is not a size`),
      text,
    );
  }
  assert.throws(() => parseBytes("999999TiB", "size"), /"999999TiB" is too large/);
});

test("sizes for people", () => {
  assert.equal(formatBytes(512), "512 B");
  assert.equal(formatBytes(4 * 2 ** 20), "4.0 MiB");
  assert.equal(formatBytes(1.5e9, true), "1.5 GB");
});
