// Requests cut out of chunks, and what may go to a device.

import assert from "node:assert/strict";
import { test } from "node:test";
import { errno } from "./errors.ts";
import { payloadBytesMax } from "./limits.ts";
import type { RequestFields } from "./nbd-codec.ts";
import { command, commandFlag, encodeRequest } from "./nbd-codec.ts";
import type { ServedExport } from "./transmission-machine.ts";
import { checkRequest, TransmissionMachine } from "./transmission-machine.ts";

function request(type: number, offset: number, length: number, flags = 0, cookieLow = 0): RequestFields {
  return { flags, type, cookieHigh: 0, cookieLow, offset, length };
}

test("a payload that arrived whole is a view of its chunk", () => {
  const machine = new TransmissionMachine();
  const chunk = encodeRequest(request(command.write, 0, 4), Buffer.from("data"));
  machine.push(chunk);
  assert.equal(machine.next(), "request");
  assert.equal(machine.payload.toString(), "data");
  assert.equal(machine.payload.buffer, chunk.buffer);
  assert.equal(machine.payload.byteOffset, chunk.byteOffset + 28);
  assert.equal(machine.next(), "more");
});

test("what is left of a chunk when its memory is taken back is kept", () => {
  const machine = new TransmissionMachine();
  const chunk = Buffer.concat([
    encodeRequest(request(command.flush, 0, 0)),
    encodeRequest(request(command.write, 0, 4), Buffer.from("data")),
  ]);
  machine.push(chunk);
  assert.equal(machine.next(), "request");
  machine.keepRest();
  chunk.fill(0xdb);
  assert.equal(machine.next(), "request");
  assert.equal(machine.payload.toString(), "data");
  assert.equal(machine.next(), "more");
});

test("what is missing of a long payload is received where it is to lie", () => {
  const machine = new TransmissionMachine();
  const data = Buffer.alloc(100_000, "0123456789");
  const stream = encodeRequest(request(command.write, 0, data.length), data);
  assert.equal(machine.room(), null);
  machine.push(stream.subarray(0, 1000));
  assert.equal(machine.next(), "more");
  machine.keepRest();
  for (let at = 1000; at < stream.length; ) {
    const room = machine.room();
    const bytes = stream.subarray(at, at + Math.min(30_000, room?.length ?? 30_000));
    const chunk = room === null ? bytes : Buffer.from(room.buffer, room.byteOffset, bytes.length);
    assert.equal(room === null, stream.length - at < 16 * 1024, `at ${at}`);
    chunk.set(bytes);
    machine.push(chunk);
    at += bytes.length;
    assert.equal(machine.next(), at === stream.length ? "request" : "more");
  }
  assert.deepEqual(machine.payload, data);
  assert.equal(machine.room(), null);
});

test("requests split anywhere come out the same", () => {
  const stream = Buffer.concat([
    encodeRequest(request(command.write, 8192, 10, 1, 1), Buffer.from("0123456789")),
    encodeRequest(request(command.read, 0, 4096, 0, 2)),
    encodeRequest(request(command.write, 1, 3, 0, 3), Buffer.from("abc")),
    encodeRequest(request(command.flush, 0, 0, 0, 4)),
  ]);
  for (let cut = 1; cut < stream.length; cut += 1) {
    const machine = new TransmissionMachine();
    const seen: string[] = [];
    for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) {
      machine.push(part);
      while (machine.next() === "request")
        seen.push(`${machine.request.cookieLow}:${machine.request.type}:${machine.payload}`);
    }
    assert.deepEqual(seen, ["1:1:0123456789", "2:0:", "3:1:abc", "4:3:"], `cut at ${cut}`);
  }
});

test("a write above the limit is read and dropped, and the next request understood", () => {
  const machine = new TransmissionMachine();
  const length = payloadBytesMax + 1;
  machine.push(encodeRequest(request(command.write, 0, length, 0, 1)));
  assert.equal(machine.next(), "more");
  const piece = Buffer.alloc(1 << 20);
  for (let sent = 0; sent < length; ) {
    const part = piece.subarray(0, Math.min(piece.length, length - sent));
    machine.push(part);
    sent += part.length;
    assert.equal(machine.next(), sent === length ? "request" : "more");
  }
  assert.equal(machine.payload.length, 0);
  assert.equal(machine.request.length, length);
  machine.push(encodeRequest(request(command.flush, 0, 0, 0, 2)));
  assert.equal(machine.next(), "request");
  assert.equal(machine.request.cookieLow, 2);
});

test("a wrong magic is garbage", () => {
  const machine = new TransmissionMachine();
  machine.push(Buffer.alloc(28, "x"));
  assert.equal(machine.next(), "garbage");
});

const served: ServedExport = {
  sizeBytes: 1 << 20,
  readOnly: false,
  style: "structured",
  contexts: [{ id: 1, name: "base:allocation" }],
};
const size = served.sizeBytes;

test("ranges: inside passes, outside is refused with the protocol's error", () => {
  for (const type of [command.read, command.write, command.trim, command.cache, command.writeZeroes]) {
    const outside = type === command.write || type === command.writeZeroes ? errno.noSpace : errno.invalid;
    assert.equal(checkRequest(request(type, 0, size), served), errno.none);
    assert.equal(checkRequest(request(type, size - 1, 1), served), errno.none);
    assert.equal(checkRequest(request(type, size, 0), served), errno.none);
    assert.equal(checkRequest(request(type, size, 1), served), outside);
    assert.equal(checkRequest(request(type, size - 1, 2), served), outside);
    assert.equal(checkRequest(request(type, 2 ** 64, 1), served), outside);
    assert.equal(checkRequest(request(type, 2 ** 63, 0), served), outside);
    assert.equal(checkRequest(request(type, 0, 0xffffffff), served) !== errno.none, true);
  }
});

test("lengths: payloads are limited, ranges without payload are not", () => {
  const large = { ...served, sizeBytes: 2 ** 40 };
  assert.equal(checkRequest(request(command.read, 0, payloadBytesMax), large), errno.none);
  assert.equal(checkRequest(request(command.read, 0, payloadBytesMax + 1), large), errno.invalid);
  assert.equal(checkRequest(request(command.write, 0, payloadBytesMax + 1), large), errno.invalid);
  assert.equal(checkRequest(request(command.trim, 0, 0xffffffff), large), errno.none);
  assert.equal(checkRequest(request(command.writeZeroes, 0, 0xffffffff), large), errno.none);
});

test("flags: FUA anywhere, the others where they mean something, unknown ones nowhere", () => {
  const { read, write, flush, trim, cache, writeZeroes } = command;
  const all = [read, write, flush, trim, cache, writeZeroes];
  for (const type of all) {
    assert.equal(checkRequest(request(type, 0, 0, commandFlag.fua), served), errno.none);
    const noHole = checkRequest(request(type, 0, 0, commandFlag.noHole), served);
    assert.equal(noHole, type === command.writeZeroes ? errno.none : errno.invalid);
    const df = checkRequest(request(type, 0, 0, commandFlag.df), served);
    assert.equal(df, type === command.read ? errno.none : errno.invalid);
    const fast = checkRequest(request(type, 0, 0, commandFlag.fastZero), served);
    assert.equal(fast, type === writeZeroes ? errno.none : errno.invalid);
    for (const bit of [3, 5, 6, 15])
      assert.equal(checkRequest(request(type, 0, 0, 1 << bit), served), errno.invalid);
  }
  const simple: ServedExport = { ...served, style: "simple" };
  assert.equal(checkRequest(request(command.read, 0, 1, commandFlag.df), simple), errno.invalid);
});

test("a read-only export refuses what would change it", () => {
  const fixed = { ...served, readOnly: true };
  for (const type of [command.write, command.trim, command.writeZeroes]) {
    assert.equal(checkRequest(request(type, 0, 1), fixed), errno.permission);
  }
  for (const type of [command.read, command.flush, command.cache]) {
    assert.equal(checkRequest(request(type, 0, 1), fixed), errno.none);
  }
});

test("unknown commands are refused", () => {
  for (const type of [8, 9, 100, 0xffff])
    assert.equal(checkRequest(request(type, 0, 0), served), errno.invalid);
});

test("BLOCK_STATUS needs a context, a length and a range inside", () => {
  const { blockStatus } = command;
  assert.equal(checkRequest(request(blockStatus, 0, size), served), errno.none);
  assert.equal(checkRequest(request(blockStatus, 0, 1, commandFlag.requestOne), served), errno.none);
  assert.equal(checkRequest(request(blockStatus, 0, 0), served), errno.invalid);
  assert.equal(checkRequest(request(blockStatus, 1, size), served), errno.invalid);
  assert.equal(checkRequest(request(blockStatus, 0, 1), { ...served, contexts: [] }), errno.invalid);
  const filtered = request(blockStatus, 0, 8, commandFlag.payloadLength);
  assert.equal(checkRequest(filtered, served), errno.invalid);
  assert.equal(checkRequest(filtered, { ...served, style: "extended" }), errno.none);
});

test("extended: a WRITE has a payload and says so, others have 64 bits of length", () => {
  const extended: ServedExport = { ...served, sizeBytes: 2 ** 50, style: "extended" };
  assert.equal(checkRequest(request(command.write, 0, 1), extended), errno.invalid);
  assert.equal(checkRequest(request(command.write, 0, 1, commandFlag.payloadLength), extended), errno.none);
  assert.equal(checkRequest(request(command.trim, 0, 1, commandFlag.payloadLength), extended), errno.invalid);
  for (const type of [command.trim, command.writeZeroes, command.cache, command.blockStatus])
    assert.equal(checkRequest(request(type, 0, 2 ** 50), extended), errno.none);
  assert.equal(checkRequest(request(command.read, 0, 2 ** 33), extended), errno.invalid);
});

test("extended: whatever says that it has a payload has one; one too large ends the stream", () => {
  const { payloadLength } = commandFlag;
  const stream = Buffer.concat([
    encodeRequest(request(command.trim, 0, 3, payloadLength, 1), Buffer.from("abc"), true),
    encodeRequest(request(command.write, 0, 2, payloadLength, 2), Buffer.from("de"), true),
    encodeRequest(request(command.write, 0, 2, 0, 3), Buffer.alloc(0), true),
    encodeRequest(request(command.flush, 0, 0, 0, 4), Buffer.alloc(0), true),
  ]);
  for (let cut = 0; cut < stream.length; cut += 1) {
    const machine = new TransmissionMachine("extended");
    const seen: string[] = [];
    for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) {
      machine.push(part);
      while (machine.next() === "request") seen.push(`${machine.request.cookieLow}:${machine.payload}`);
    }
    assert.deepEqual(seen, ["1:abc", "2:de", "3:", "4:"], `cut at ${cut}`);
  }
  const machine = new TransmissionMachine("extended");
  machine.push(
    encodeRequest(request(command.write, 0, payloadBytesMax + 1, payloadLength), Buffer.alloc(0), true),
  );
  assert.equal(machine.next(), "garbage");
});
