// Replies, byte by byte: golden bytes written down from the protocol, and what is refused.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  chunkHeaderBytes,
  chunkType,
  decodeStatusFilter,
  encodeChunkHeader,
  encodeDataOffset,
  encodeErrorPayload,
  encodeHole,
  encodeSimpleReply,
  encodeStatusPayload,
  simpleReplyBytes,
} from "./reply-codec.ts";

const to = { cookieHigh: 0xdeadbeef, cookieLow: 0xfeedface, offsetHigh: 0xffffffff, offsetLow: 0xfffff000 };

/** A new buffer of `count` bytes, as `encode` leaves it. */
function made(count: number, encode: (target: Buffer) => void): string {
  const target = Buffer.alloc(count);
  encode(target);
  return target.toString("hex");
}

test("golden: a simple reply", () => {
  assert.equal(
    made(simpleReplyBytes, (target) => encodeSimpleReply(target, 0, 28, to)),
    "674466980000001cdeadbeeffeedface",
  );
});

test("golden: headers of chunks", () => {
  const data = { type: chunkType.offsetData, isDone: false, payloadBytes: 4104 };
  const none = { type: chunkType.none, isDone: true, payloadBytes: 0 };
  assert.equal(
    made(chunkHeaderBytes(false), (target) => encodeChunkHeader(target, 0, false, to, data)),
    "668e33ef00000001deadbeeffeedface00001008",
  );
  assert.equal(
    made(chunkHeaderBytes(false), (target) => encodeChunkHeader(target, 0, false, to, none)),
    "668e33ef00010000deadbeeffeedface00000000",
  );
  assert.equal(
    made(chunkHeaderBytes(true), (target) => encodeChunkHeader(target, 0, true, to, data)),
    `6e8a278c00000001deadbeeffeedface${"fffffffffffff000"}${"0000000000001008"}`,
  );
});

test("golden: payloads of chunks", () => {
  assert.equal(
    made(8, (target) => encodeDataOffset(target, 0, 2 ** 40 + 512)),
    "0000010000000200",
  );
  assert.equal(
    made(12, (target) => encodeHole(target, 0, 4096, 65536)),
    "000000000000100000010000",
  );
  assert.equal(encodeErrorPayload(5, "io").toString("hex"), `00000005${"0002"}696f`);
  const extents = [
    { length: 4096, marked: true },
    { length: 8192, marked: false },
  ];
  const flags = { marked: 0, others: 3 };
  assert.equal(
    encodeStatusPayload(false, 1, extents, flags).toString("hex"),
    `00000001${"0000100000000000"}${"0000200000000003"}`,
  );
  assert.equal(
    encodeStatusPayload(true, 1, extents, flags).toString("hex"),
    `00000001${"00000002"}${"0000000000001000"}${"0000000000000000"}${"0000000000002000"}${"0000000000000003"}`,
  );
});

test("a filter of contexts: a length, and ids that differ", () => {
  const filter = (hex: string) => decodeStatusFilter(Buffer.from(hex, "hex"));
  assert.deepEqual(filter("0000000100000002"), { length: 2 ** 32 + 2, ids: [] });
  assert.deepEqual(filter("0000000000000002 00000007 00000001".replaceAll(" ", "")), {
    length: 2,
    ids: [7, 1],
  });
  for (const wrong of ["", "00000001", "000000010000000200", "0000000000000002 00000007 00000007"])
    assert.equal(filter(wrong.replaceAll(" ", "")), null, wrong);
});
