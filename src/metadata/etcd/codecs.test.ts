// The codecs against bytes that a generated codec made of proto/etcd/etcd.proto, and against bytes that mean nothing.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { assert as check, property, uint8Array } from "fast-check";
import { isTorusError, TorusError } from "#model";
import { FieldReader, FieldWriter } from "./protobuf-codec.ts";
import * as requests from "./request-codec.ts";
import * as responses from "./response-codec.ts";

const golden = JSON.parse(readFileSync(new URL("testdata/messages.json", import.meta.url), "utf8")) as Record<
  string,
  string
>;
const bytes = (name: string): Uint8Array => Buffer.from(golden[name], "hex");
const lease = Number.MAX_SAFE_INTEGER;

it("requests are the bytes that a generated codec makes", () => {
  const made: Record<string, Uint8Array> = {
    "range, a key": requests.encodeRange({ key: "/torus/a" }),
    "range, a prefix, count only": requests.encodeRange({
      key: "/torus/",
      rangeEnd: requests.prefixEnd("/torus/"),
      countOnly: true,
    }),
    "transaction, empty": requests.encodeTransaction({ compares: [], operations: [] }),
    "transaction, of every kind": requests.encodeTransaction({
      compares: [
        { key: "/torus/a", modRevision: 0 },
        { key: "/torus/b", modRevision: Number.MAX_SAFE_INTEGER },
      ],
      operations: [
        { kind: "range", key: "/torus/v/", rangeEnd: requests.prefixEnd("/torus/v/") },
        { kind: "put", key: "/torus/a", value: "ü €", lease: 300 },
        { kind: "put", key: "/torus/c", value: "", lease: 0 },
        { kind: "delete", key: "/torus/d" },
        { kind: "group", operations: [{ kind: "put", key: "/torus/e", value: "1".repeat(200), lease: 0 }] },
      ],
    }),
    watch: requests.encodeWatchCreate({
      key: "/torus/ring",
      rangeEnd: requests.prefixEnd("/torus/ring"),
      startRevision: 128,
    }),
    "lease grant": requests.encodeLeaseGrant(10, lease),
    "lease revoke": requests.encodeLeaseRevoke(2 ** 32),
    "lease keep-alive": requests.encodeLeaseKeepAlive(2 ** 32),
    authenticate: requests.encodeAuthenticate("joe", "pä:ss"),
  };
  for (const [name, encoded] of Object.entries(made)) {
    assert.equal(Buffer.from(encoded).toString("hex"), golden[name], name);
  }
});

const header = { clusterId: 14841639068965178418n, revision: 4294967301 };
const entry = { key: "/torus/a", value: "ü €", createRevision: 2, modRevision: 4294967300, lease };
const plain = { created: false, canceled: false, fragment: false, compactRevision: 0, cancelReason: "" };

it("answers are read from the bytes that a generated codec makes", () => {
  assert.deepEqual(responses.decodeRange(bytes("range answer")), {
    header,
    entries: [entry, { key: "/torus/b", value: "", createRevision: 2, modRevision: 2, lease: 0 }],
  });
  assert.deepEqual(responses.decodeTransaction(bytes("transaction answer")), {
    header,
    succeeded: true,
    ranges: [[entry], []],
  });
  assert.deepEqual(responses.decodeWatch(bytes("watch answer, created")), {
    ...plain,
    header,
    created: true,
    events: [],
  });
  assert.deepEqual(responses.decodeWatch(bytes("watch answer, compacted")), {
    ...plain,
    header,
    canceled: true,
    compactRevision: 99,
    cancelReason: "etcdserver: mvcc: required revision has been compacted",
    events: [],
  });
  assert.deepEqual(responses.decodeWatch(bytes("watch answer, events")), {
    ...plain,
    header,
    fragment: true,
    events: [
      { kind: "put", entry },
      { kind: "delete", entry: { key: "/torus/b", value: "", createRevision: 0, modRevision: 9, lease: 0 } },
    ],
  });
  assert.deepEqual(responses.decodeLeaseGrant(bytes("lease grant answer")), { ttlSeconds: 10 });
  assert.deepEqual(responses.decodeLeaseKeepAlive(bytes("lease keep-alive answer")), { ttlSeconds: 10 });
  assert.deepEqual(responses.decodeLeaseKeepAlive(bytes("lease keep-alive answer, gone")), {
    ttlSeconds: -1,
  });
  assert.deepEqual(responses.decodeAuthenticate(bytes("authenticate answer")), { token: "abc.42" });
});

const decoders: Record<string, (bytes: Uint8Array) => unknown> = {
  range: responses.decodeRange,
  transaction: responses.decodeTransaction,
  watch: responses.decodeWatch,
  lease: responses.decodeLeaseKeepAlive,
  authenticate: responses.decodeAuthenticate,
};

it("every cut of an answer, and any other bytes, are read or refused as malformed, nothing else", () => {
  const tryAll = (input: Uint8Array): void => {
    for (const decode of Object.values(decoders)) {
      try {
        decode(input);
      } catch (error) {
        assert.ok(isTorusError(error, "protocol", "corrupt"), String(error));
      }
    }
  };
  for (const name of Object.keys(golden)) {
    const whole = bytes(name);
    for (let length = 0; length < whole.length; length++) tryAll(whole.subarray(0, length));
  }
  check(
    property(uint8Array({ maxLength: 64 }), (input) => tryAll(input)),
    { numRuns: 2000 },
  );
});

it("unknown fields of every wire type are skipped", () => {
  const extra = Buffer.from("f80780807ff9070102030405060708fa0703aabbccfd0701020304", "hex");
  const input = Buffer.concat([extra, bytes("authenticate answer"), extra]);
  assert.deepEqual(responses.decodeAuthenticate(input), { token: "abc.42" });
});

it("numbers beyond 53 bits, text that is not UTF-8 and wrong types are refused", () => {
  const read = (hex: string, take: (reader: FieldReader) => unknown): unknown => {
    const reader = new FieldReader(Buffer.from(hex, "hex"));
    assert.equal(reader.next(), true);
    return take(reader);
  };
  const refused = (error: unknown) => isTorusError(error, "protocol");
  assert.equal(
    read("08ffffffffffffffffff01", (reader) => reader.int()),
    -1,
  );
  assert.equal(
    read("08ffffffffffffffffff01", (reader) => reader.id()),
    2n ** 64n - 1n,
  );
  assert.equal(
    read("08ffffffffffffff0f", (reader) => reader.int()),
    Number.MAX_SAFE_INTEGER,
  );
  assert.throws(() => read("088080808080808010", (reader) => reader.int()), refused);
  assert.throws(() => read("08ffffffffffffffffffff01", (reader) => reader.int()), refused);
  assert.throws(() => read("0a02c328", (reader) => reader.text()), refused);
  assert.throws(() => read("0a0161", (reader) => reader.int()), refused);
  assert.throws(() => new FieldWriter().int(1, -1));
  assert.throws(() => new FieldWriter().int(1, 2 ** 53));
});

it("a key of another program under our prefix is named", () => {
  // kvs { key: "/torus/x" value: 0xff }
  const foreign = Buffer.from(`120d0a08${Buffer.from("/torus/x").toString("hex")}2a01ff`, "hex");
  assert.throws(
    () => responses.decodeRange(foreign),
    (error) =>
      error instanceof TorusError &&
      error.code === "corrupt" &&
      /key \/torus\/x was put by another/.test(error.message),
  );
});
