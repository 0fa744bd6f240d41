// The bytes of the wire. `node src/peer/wire/wire.test.ts --rewrite` writes testdata/frames.txt anew: only for a new
// protocol version, which adds lines and changes none, since peers of the old one are out there.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ReusedMemory } from "#host";
import { crc32, errorCodes, isTorusError, TorusError } from "#model";
import { decodeAnswer } from "./answer-codec.ts";
import { decodeError, encodeError, errorNumbers } from "./error-codec.ts";
import {
  answerLimits,
  encodeFrameHead,
  FrameScratch,
  frameHeaderBytes,
  operations,
  requestLimits,
} from "./frame-codec.ts";
import { FreshMemory } from "./frame-memory.ts";
import type { FrameSink } from "./frame-reader.ts";
import { FrameReader } from "./frame-reader.ts";
import { answerFrame, requestFrame, requests, sampleExchanges } from "./frame-sample.fixture.ts";
import type { Handshake } from "./handshake-codec.ts";
import { decodeHandshake, encodeHandshake } from "./handshake-codec.ts";
import type { Request } from "./request-codec.ts";
import { decodeRequest } from "./request-codec.ts";

const goldenFile = new URL("./testdata/frames.txt", import.meta.url);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function errorFrame(error: TorusError): Uint8Array {
  const scratch = new FrameScratch();
  const argumentBytes = encodeError(scratch, error);
  return encodeFrameHead(scratch, operations.append, errorNumbers[error.code], 77, argumentBytes, 0).slice();
}

function goldenFrames(): string {
  const lines: string[] = [];
  for (const [name, { request, answer }] of Object.entries(sampleExchanges)) {
    lines.push(`${name} request ${hex(requestFrame(request, 0x01020304))}`);
    lines.push(`${name} answer ${hex(answerFrame(request, answer, 0x01020304))}`);
  }
  const error = new TorusError("out-of-order", "held is 4096", { held: 4096 });
  lines.push(`error answer ${hex(errorFrame(error))}`);
  return `${lines.join("\n")}\n`;
}

if (process.argv.includes("--rewrite")) writeFileSync(goldenFile, goldenFrames());

describe("golden bytes", () => {
  test("the frames of versions 1 to 4 are what they always were", () => {
    assert.equal(goldenFrames(), readFileSync(goldenFile, "utf8"));
  });

  // These bytes never change, in no version: without them two peers cannot even say why they do not understand each other.
  const handshakes: [Handshake, string][] = [
    [
      { kind: "hello", versionMin: 1, versionMax: 2, clusterId: "c1", peer: "p1" },
      "544f52555350454552 01 0a00 c59ac5e8 0100 0200 02 6331 02 7031",
    ],
    [
      { kind: "welcome", version: 1, incarnation: 258, clusterId: "c1", peer: "p1" },
      "544f52555350454552 02 1000 1c5983d8 0100 0201000000000000 02 6331 02 7031",
    ],
    [{ kind: "refusal", error: 16, message: "no" }, "544f52555350454552 03 0600 53516e3e 1000 0200 6e6f"],
  ];

  test("the handshake is frozen", () => {
    for (const [handshake, bytes] of handshakes) {
      assert.equal(hex(encodeHandshake(handshake)), bytes.replaceAll(" ", ""));
      assert.deepEqual(decodeHandshake(encodeHandshake(handshake))?.handshake, handshake);
    }
  });

  test("a handshake of a later version, with more in its body, is understood", () => {
    const known = encodeHandshake(handshakes[1][0]);
    const longer = Buffer.concat([known.subarray(16), Buffer.from("what later versions add")]);
    const head = Buffer.from(known.subarray(0, 16));
    head.writeUInt16LE(longer.length, 10);
    head.writeUInt32LE(crc32(longer), 12);
    assert.deepEqual(decodeHandshake(Buffer.concat([head, longer]))?.handshake, handshakes[1][0]);
  });

  test("error numbers are frozen, one a code", () => {
    assert.deepEqual(
      errorCodes.map((code) => errorNumbers[code]),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
    );
  });
});

test("codecs: every request decodes to what was encoded", () => {
  fc.assert(
    fc.property(requests, (request) => {
      assert.deepEqual(plain(roundTrip(request)), plain(request));
    }),
  );
});

test("codecs: every answer decodes to what was encoded", () => {
  for (const { request, answer } of Object.values(sampleExchanges)) {
    const frame = answerFrame(request, answer, 1);
    const view = viewOf(frame);
    const argumentBytes = view.getUint32(16, true);
    const bulk = frame.subarray(frameHeaderBytes + argumentBytes);
    assert.deepEqual(
      plain(decodeAnswer(request, view, frameHeaderBytes, argumentBytes, bulk)),
      plain(answer),
    );
  }
});

test("codecs: an answer of another length or to another question is refused", () => {
  for (const [name, { request, answer }] of Object.entries(sampleExchanges)) {
    const frame = answerFrame(request, answer, 1);
    const view = viewOf(frame);
    const argumentBytes = view.getUint32(16, true);
    for (const wrong of [argumentBytes + 1, Math.max(0, argumentBytes - 1)]) {
      if (wrong === argumentBytes) continue;
      const padded = viewOf(Buffer.concat([frame, Buffer.alloc(8)]));
      assert.throws(
        () => decodeAnswer(request, padded, frameHeaderBytes, wrong, new Uint8Array(0)),
        isProtocol,
        name,
      );
    }
  }
  const { request, answer } = sampleExchanges.fence;
  const frame = answerFrame(request, answer, 1);
  const argumentBytes = viewOf(frame).getUint32(16, true);
  const other = { ...request, logEpoch: 7 } as Request;
  assert.throws(
    () => decodeAnswer(other, viewOf(frame), frameHeaderBytes, argumentBytes, new Uint8Array(0)),
    isProtocol,
  );
});

test("codecs: errors keep code, message and details; what is too long is cut", () => {
  const details = { held: 4096, why: "x", again: true, waitingFor: ["p1", "p2"] };
  for (const code of errorCodes) {
    const frame = errorFrame(new TorusError(code, "mäßage", details));
    const back = decodeError(frame[9], viewOf(frame), frameHeaderBytes, frame.length - frameHeaderBytes);
    assert.deepEqual([back.code, back.message, back.details], [code, "mäßage", details]);
  }
  const long = errorFrame(new TorusError("io", "ä".repeat(9000), { text: "y".repeat(90_000) }));
  const back = decodeError(long[9], viewOf(long), frameHeaderBytes, long.length - frameHeaderBytes);
  assert.equal(back.message, "ä".repeat(1024));
  assert.deepEqual(back.details, {});
});

test("codecs: a code of a newer peer becomes a protocol error with its message", () => {
  const frame = errorFrame(new TorusError("io", "newer than you"));
  const back = decodeError(200, viewOf(frame), frameHeaderBytes, frame.length - frameHeaderBytes);
  assert.equal(back.code, "protocol");
  assert.match(back.message, /number 200.*newer than you/);
});

test("frame reader: frames come out the same however the stream is cut", () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(
      fc.array(requests, { minLength: 1, maxLength: 12 }),
      cuts,
      fc.boolean(),
      (list, sizes, halting) => {
        const stream = Buffer.concat(list.map((request, i) => requestFrame(request, i + 1)));
        const seen: [number, Request][] = [];
        let refusals = 0;
        const reader = new FrameReader(
          requestLimits,
          {
            admit: () => !halting || refusals++ % 2 === 1,
            frame(operation, _status, id, view, at, argumentBytes, bulk) {
              seen.push([id, decodeRequest(operation, view, at, argumentBytes, bulk)]);
              if (halting) reader.stop();
            },
          },
          new FreshMemory(),
        );
        for (let at = 0, i = 0; at < stream.length; i++) {
          const end = Math.min(stream.length, at + sizes[i % sizes.length]);
          feed(reader, stream.subarray(at, end));
          at = end;
        }
        for (let i = 0; i < 3 * list.length && reader.stopped; i++) reader.resume();
        assert.equal(reader.midFrame, false);
        assert.deepEqual(
          seen.map(([id]) => id),
          list.map((_, i) => i + 1),
        );
        assert.deepEqual(
          seen.map(([, request]) => plain(request)),
          list.map(plain),
        );
      },
    ),
  );
});

/** Hands `bytes` on as a connection does: where the reader wants them, or in memory that is spoilt when it returns. */
function feed(reader: FrameReader, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const room = reader.room();
    const place = room?.subarray(0, bytes.length - at) ?? new Uint8Array(bytes.length - at);
    place.set(bytes.subarray(at, at + place.length));
    at += place.length;
    reader.push(place);
    if (room === null) place.fill(0xdb);
  }
}

test("frame reader: what is missing of a large frame goes where it is to lie, and bulk is the sink's until it gives it back", () => {
  const bulks: Uint8Array[] = [];
  const memory = new ReusedMemory();
  const sink: FrameSink = {
    admit: () => true,
    frame: (_operation, _status, _id, _view, _at, _argumentBytes, bulk, lent) => {
      bulks.push(bulk);
      assert.equal(lent?.buffer, bulk.buffer);
    },
  };
  const reader = new FrameReader(requestLimits, sink, memory);
  const { request } = sampleExchanges.append;
  const large = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
  const stream = Buffer.concat([
    requestFrame({ ...request, bytes: large } as Request, 1),
    requestFrame(request, 2),
  ]);
  feed(reader, stream.subarray(0, 30_000));
  assert.equal(reader.room()?.length, 100_000 + 52 - 30_000);
  feed(reader, stream.subarray(30_000, 99_000));
  assert.equal(reader.room(), null, "the rest is too little to be read alone");
  feed(reader, stream.subarray(99_000));
  assert.deepEqual(bulks.map(hex), [large, (request as { bytes: Uint8Array }).bytes].map(hex));
  memory.give(bulks[0]);
  feed(reader, requestFrame({ ...request, bytes: large } as Request, 3));
  assert.equal(bulks[2].buffer, bulks[0].buffer);
});

test("memory that is given back is taken again, but not what was given twice, nor what is not of here", () => {
  const memory = new ReusedMemory();
  const first = memory.take(100);
  memory.give(new Uint8Array(64 * 1024));
  memory.give(first);
  memory.give(first);
  assert.equal(memory.take(70).buffer, first.buffer);
  assert.notEqual(memory.take(70).buffer, first.buffer);
});

test("frame reader: too large, unknown or damaged frames are refused before memory is taken", () => {
  const frame = Uint8Array.from(requestFrame(sampleExchanges.append.request, 1));
  const spoil = (change: (view: DataView) => void): Uint8Array => {
    const copy = frame.slice();
    change(new DataView(copy.buffer));
    return copy;
  };
  const wrong = [
    spoil((view) => view.setUint32(4, 0xffffffff, true)),
    spoil((view) => view.setUint32(4, 2 ** 27, true)),
    spoil((view) => view.setUint8(8, 0)),
    spoil((view) => view.setUint8(8, 99)),
    spoil((view) => view.setUint16(10, 1, true)),
    spoil((view) => view.setUint32(16, 33, true)),
    spoil((view) => view.setUint32(16, 0xffffffff, true)),
    spoil((view) => view.setUint8(25, view.getUint8(25) ^ 1)),
    spoil((view) => view.setUint32(0, 1, true)),
  ];
  for (const [i, bytes] of wrong.entries()) {
    const reader = new FrameReader(
      requestLimits,
      {
        admit: () => assert.fail("no memory is asked for"),
        frame: () => assert.fail(`frame ${i} is not accepted`),
      },
      { take: () => assert.fail("no memory is taken"), give: () => {} },
    );
    assert.throws(() => reader.push(bytes), isProtocol, `frame ${i}`);
  }
});

test("frame reader: limits of answers and requests leave room for the largest of each", () => {
  for (const limits of [requestLimits, answerLimits]) {
    for (const operation of Object.values(operations)) {
      assert.ok(limits.argumentBytesMax[operation] >= 0 && limits.bulkBytesMax[operation] >= 0);
    }
  }
});

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function roundTrip(request: Request): Request {
  const frame = requestFrame(request, 9);
  const argumentBytes = viewOf(frame).getUint32(16, true);
  const bulk = frame.subarray(frameHeaderBytes + argumentBytes);
  return decodeRequest(request.operation, viewOf(frame), frameHeaderBytes, argumentBytes, bulk);
}

/** Byte arrays as plain ones, so that views and arrays compare by content. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]));
}

function isProtocol(error: unknown): boolean {
  return isTorusError(error, "protocol");
}
