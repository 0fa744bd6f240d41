// gRPC's framing and status.

import assert from "node:assert/strict";
import { it } from "node:test";
import { array, assert as check, integer, property, uint8Array } from "fast-check";
import { isTorusError } from "#model";
import { decodeStatus, encodeMessage, encodeTimeout, MessageReader, messageBytesMax } from "./grpc-codec.ts";

it("messages come out as they went in, however the stream is cut", () => {
  check(
    property(
      array(uint8Array({ maxLength: 40 }), { maxLength: 6 }),
      array(integer({ min: 1, max: 13 })),
      (messages, cuts) => {
        const stream = Buffer.concat(messages.map(encodeMessage));
        const reader = new MessageReader();
        const out: Uint8Array[] = [];
        let at = 0;
        for (let count = 0; at < stream.length; count++) {
          const length = cuts[count % cuts.length] ?? stream.length;
          out.push(...reader.push(stream.subarray(at, at + length)));
          at += length;
        }
        assert.deepEqual(
          out.map((each) => Buffer.from(each).toString("hex")),
          messages.map((each) => Buffer.from(each).toString("hex")),
        );
        assert.equal(reader.pendingBytes, 0);
      },
    ),
  );
});

it("a compressed message and one beyond the limit are refused", () => {
  const refused = (error: unknown) => isTorusError(error, "protocol");
  assert.throws(() => new MessageReader().push(Uint8Array.of(1, 0, 0, 0, 0)), refused);
  const head = new Uint8Array(5);
  new DataView(head.buffer).setUint32(1, messageBytesMax + 1);
  assert.throws(() => new MessageReader().push(head), refused);
});

it("status and deadline are those of the specification", () => {
  assert.deepEqual(decodeStatus({ "grpc-status": "0" }), { code: 0, message: "" });
  assert.deepEqual(decodeStatus({ "grpc-status": "14", "grpc-message": "a%20b%C3%BC" }), {
    code: 14,
    message: "a bü",
  });
  assert.deepEqual(decodeStatus({ "grpc-status": "2", "grpc-message": "100%" }), {
    code: 2,
    message: "100%",
  });
  for (const headers of [{}, { "grpc-status": "x" }, { "grpc-status": ["0", "1"] }]) {
    assert.equal(decodeStatus(headers), null);
  }
  assert.equal(encodeTimeout(2000), "2000m");
  assert.equal(encodeTimeout(0.2), "1m");
  assert.equal(encodeTimeout(1e12), "99999999m");
});
