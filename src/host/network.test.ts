// Addresses as text.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isTorusError } from "#model";
import { formatAddress, parseAddress } from "./network.ts";

test("addresses are read as they are written", () => {
  for (const text of [
    "10.0.0.5:4321",
    "node-1.example:1",
    "[::1]:4321",
    "[fe80::1%eth0]:65535",
    "unix:/run/torus.sock",
  ]) {
    assert.equal(formatAddress(parseAddress(text)), text);
  }
  assert.deepEqual(parseAddress("[::1]:80"), { host: "::1", port: 80 });
});

test("what is no address is refused with what would be one", () => {
  for (const text of [
    "",
    "nowhere",
    "host:",
    ":80",
    "host:65536",
    "host:-1",
    "::1:80",
    "a b:80",
    "unix:",
    "http://x:80",
  ]) {
    assert.throws(
      () => parseAddress(text),
      (error) => isTorusError(error, "invalid-argument"),
      text,
    );
  }
});
