// The NBD codec, byte by byte: golden bytes written down from the protocol, and what is refused.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  command,
  decodeClientFlags,
  decodeContextRequest,
  decodeInfoRequest,
  decodeOptionHeader,
  decodeRequest,
  decodeString,
  encodeContextReply,
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeOptionError,
  encodeOptionReply,
  encodeRequest,
  encodeServerReply,
  encodeString,
  information,
  option,
  reply,
} from "./nbd-codec.ts";

function hex(bytes: Buffer): string {
  return bytes.toString("hex");
}

function bytes(...parts: string[]): Buffer {
  return Buffer.from(parts.join("").replaceAll(" ", ""), "hex");
}

test("golden: greeting", () => {
  assert.equal(hex(encodeGreeting()), "4e42444d414749434948415645 4f5054 0003".replaceAll(" ", ""));
});

test("golden: option replies", () => {
  const head = "0003e889045565a9";
  assert.equal(hex(encodeOptionReply(option.list, reply.ack)), `${head}000000030000000100000000`);
  assert.equal(
    hex(encodeOptionError(5, reply.errorUnsupported, "no")),
    `${head}00000005${"80000001"}00000002${"6e6f"}`,
  );
  assert.equal(
    hex(encodeServerReply("vol", "d")),
    `${head}00000003${"00000002"}00000008${"00000003"}766f6c64`,
  );
  assert.equal(
    hex(encodeInfoExport(option.go, 2 ** 40 + 4096, 0x056d)),
    `${head}00000007${"00000003"}0000000c${"0000"}0000010000001000${"056d"}`,
  );
  assert.equal(
    hex(encodeInfoText(option.info, information.name, "vol")),
    `${head}00000006${"00000003"}00000005${"0001"}766f6c`,
  );
  assert.equal(
    hex(encodeInfoBlockSize(option.go, 1, 4096, 2 ** 25)),
    `${head}00000007${"00000003"}0000000e${"0003"}00000001${"00001000"}02000000`,
  );
});

test("golden: the answer to EXPORT_NAME, with and without zeroes", () => {
  assert.equal(hex(encodeExportNameReply(2 ** 32, 0x016d, true)), "0000000100000000016d");
  assert.equal(hex(encodeExportNameReply(2 ** 32, 0x016d, false)), `0000000100000000016d${"00".repeat(124)}`);
});

test("golden: requests", () => {
  const request = {
    flags: 1,
    type: command.write,
    cookieHigh: 0xdeadbeef,
    cookieLow: 0xfeedface,
    offset: 2 ** 40 + 512,
    length: 4,
  };
  const encoded = encodeRequest(request, Buffer.from("data"));
  assert.equal(
    hex(encoded),
    `25609513${"0001"}0001${"deadbeeffeedface"}0000010000000200${"00000004"}64617461`,
  );
  const zero = { flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 };
  const decoded = { ...zero, offsetHigh: 0, offsetLow: 0 };
  assert.equal(decodeRequest(encoded, 0, decoded), true);
  assert.deepEqual(decoded, { ...request, offsetHigh: 256, offsetLow: 512 });
  assert.equal(decodeRequest(encoded, 0, decoded, true), false);
  encoded[0] = 0;
  assert.equal(decodeRequest(encoded, 0, decoded), false);
});

test("golden: extended requests", () => {
  const request = {
    flags: 0x20,
    type: command.trim,
    cookieHigh: 0xdeadbeef,
    cookieLow: 0xfeedface,
    offset: 512,
    length: 2 ** 41 + 1,
  };
  const encoded = encodeRequest(request, Buffer.alloc(0), true);
  assert.equal(
    hex(encoded),
    `21e41c71${"0020"}0004${"deadbeeffeedface"}0000000000000200${"0000020000000001"}`,
  );
  const decoded = { ...request, length: 0, offsetHigh: 9, offsetLow: 9 };
  assert.equal(decodeRequest(encoded, 0, decoded), false);
  assert.equal(decodeRequest(encoded, 0, decoded, true), true);
  assert.deepEqual(decoded, { ...request, offsetHigh: 0, offsetLow: 512 });
});

test("golden: a context in a reply", () => {
  assert.equal(
    hex(encodeContextReply(option.setMetaContext, 1, "a:b")),
    `0003e889045565a9${"0000000a"}00000004${"00000007"}00000001${"613a62"}`,
  );
});

test("contexts: data that does not add up is refused", () => {
  const good = bytes("00000003", "766f6c", "00000002", "00000003", "613a62", "00000002", "633a");
  assert.deepEqual(decodeContextRequest(good), { name: "vol", queries: ["a:b", "c:"] });
  assert.deepEqual(decodeContextRequest(bytes("00000000", "00000000")), { name: "", queries: [] });
  for (let length = 0; length < good.length; length += 1)
    assert.equal(decodeContextRequest(good.subarray(0, length)), null, `cut at ${length}`);
  assert.equal(decodeContextRequest(Buffer.concat([good, Buffer.alloc(1)])), null);
  assert.equal(decodeContextRequest(bytes("00000000", "ffffffff")), null);
  assert.equal(decodeContextRequest(bytes("ffffffff", "00000000")), null);
  assert.equal(decodeContextRequest(bytes("00000000", "00000001", "00000002", "c328")), null, "not UTF-8");
});

test("client flags that were not offered are refused", () => {
  assert.deepEqual(decodeClientFlags(bytes("00000003")), { noZeroes: true });
  assert.deepEqual(decodeClientFlags(bytes("00000001")), { noZeroes: false });
  assert.deepEqual(decodeClientFlags(bytes("00000000")), { noZeroes: false });
  assert.equal(decodeClientFlags(bytes("00000004")), null);
  assert.equal(decodeClientFlags(bytes("80000003")), null);
});

test("option headers need their magic", () => {
  assert.deepEqual(decodeOptionHeader(bytes("49484156454f5054 00000007 00000010")), {
    option: 7,
    length: 16,
  });
  assert.equal(decodeOptionHeader(bytes("49484156454f5055 00000007 00000010")), null);
});

test("INFO and GO: data that does not add up is refused", () => {
  const good = bytes("00000003", "766f6c", "0002", "0001", "0003");
  assert.deepEqual(decodeInfoRequest(good), { name: "vol", wants: [1, 3] });
  assert.deepEqual(decodeInfoRequest(bytes("00000000", "0000")), { name: "", wants: [] });
  for (let length = 0; length < good.length; length += 1) {
    assert.equal(decodeInfoRequest(good.subarray(0, length)), null, `cut at ${length}`);
  }
  assert.equal(decodeInfoRequest(Buffer.concat([good, Buffer.alloc(1)])), null);
  assert.equal(decodeInfoRequest(bytes("ffffffff", "0000")), null);
  assert.equal(decodeInfoRequest(bytes("00000002", "c328", "0000")), null, "not UTF-8");
});

test("strings: UTF-8, no NUL, at most 4096 bytes, cut at a character", () => {
  assert.equal(decodeString(Buffer.from("größe")), "größe");
  assert.equal(decodeString(Buffer.from("a\0b")), null);
  assert.equal(decodeString(Buffer.alloc(4097, "a")), null);
  assert.equal(decodeString(Buffer.alloc(4096, "a"))?.length, 4096);
  assert.equal(encodeString("é".repeat(3000)).length, 4096);
  assert.equal(encodeString(`a${"é".repeat(3000)}`).length, 4095);
  assert.equal(encodeString("a\0b").toString(), "a b");
});
