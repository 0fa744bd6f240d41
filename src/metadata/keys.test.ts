// Keys: no id covers another, order, names.

import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { isTorusError, volumeIdMax } from "#model";
import {
  parsePeerKey,
  parseRingVersionKey,
  parseTombstoneKey,
  parseVolumeKey,
  peerAliveKey,
  peerPrefix,
  requireName,
  ringVersionKey,
  snapshotKey,
  snapshotsPrefix,
  tombstoneKey,
  volumeKey,
  volumePrefix,
} from "./keys.ts";

const ids = fc.oneof(fc.integer({ min: 0, max: 0x300 }), fc.integer({ min: 0, max: volumeIdMax }));

it("keys: no prefix of one volume covers a key of another, such as 0x2 and 0x20 to 0x2f", () => {
  for (let id = 0x20; id <= 0x2f; id++) assert.ok(!volumeKey(id, "spec").startsWith(volumePrefix(0x2)));
  fc.assert(
    fc.property(ids, ids, (a, b) => {
      fc.pre(a !== b);
      assert.ok(!volumeKey(a, "head").startsWith(volumePrefix(b)));
      assert.ok(!snapshotKey(a, "s").startsWith(snapshotsPrefix(b)));
      assert.ok(!tombstoneKey(a).startsWith(tombstoneKey(b)));
    }),
  );
  assert.ok(!peerAliveKey("node-10").startsWith(peerPrefix("node-1")));
});

it("keys: text order is number order", () => {
  fc.assert(fc.property(ids, ids, (a, b) => volumePrefix(a) < volumePrefix(b) === a < b));
  assert.ok(ringVersionKey(9) < ringVersionKey(10));
});

it("keys: are parsed back, and nothing else is", () => {
  fc.assert(
    fc.property(ids, (id) => {
      assert.deepEqual(parseVolumeKey(volumeKey(id, "writer")), { id, part: "writer" });
      assert.equal(parseTombstoneKey(tombstoneKey(id)), id);
      assert.equal(parseRingVersionKey(ringVersionKey(id)), id);
    }),
  );
  assert.deepEqual(parsePeerKey(peerAliveKey("a-1")), { peer: "a-1", part: "alive" });
  for (const key of [
    "volumes/2/spec",
    "volumes/000000000g/spec",
    "volumes/0000000002",
    "rings/1",
    "peers/a/b/alive",
  ]) {
    assert.equal(parseVolumeKey(key) ?? parseRingVersionKey(key) ?? parsePeerKey(key), null, key);
  }
});

it("keys: names are plain and say what is wrong with others", () => {
  for (const name of ["a", "A.b_c-9", "x".repeat(128), "_", "9"])
    assert.equal(requireName(name, "volume"), name);
  const wrong: [string, RegExp][] = [
    ["", /is empty/],
    ["x".repeat(129), /has 129 characters/],
    [".hidden", /starts with a dot/],
    ["-x", /starts with a dash/],
    ["a/b", /has a "\/" in it/],
    ["v@s", /has a "@" in it/],
    ["ü", /has a "ü" in it/],
    ["a b", /has a " " in it/],
    ["a\n", /has a "\\n" in it/],
  ];
  for (const [name, message] of wrong) {
    assert.throws(
      () => requireName(name, "volume"),
      (error) => isTorusError(error, "invalid-argument") && message.test(error.message),
    );
  }
});
