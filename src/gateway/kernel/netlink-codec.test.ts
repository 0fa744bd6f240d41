// Generic netlink: golden bytes of what is sent, what Linux answered, and whatever else may come.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { isTorusError } from "#model";
import type { ConnectMessage } from "./nbd-netlink-codec.ts";
import {
  connectRequest,
  disconnectRequest,
  familyOf,
  getFamilyRequest,
  reconnectRequest,
  resizeRequest,
} from "./nbd-netlink-codec.ts";
import type { Attribute } from "./netlink-codec.ts";
import { decodeAttributes, decodeMessages, encodeRequest, numberOf } from "./netlink-codec.ts";

const golden: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL("testdata/messages.json", import.meta.url), "utf8"),
);
const bytesOf = (name: string): Buffer => Buffer.from(golden[name].replaceAll(" ", ""), "hex");

const connect: ConnectMessage = {
  index: 3,
  sizeBytes: 2 ** 30,
  blockBytes: 4096,
  timeoutSeconds: 15,
  deadSeconds: 300,
  serverFlags: 0x16d,
  socket: 21,
  backend: "torus:vol:t1",
};

test("netlink: golden bytes of every message to the driver", () => {
  const family = 0x21;
  for (const [name, request] of Object.entries({
    family: getFamilyRequest(1),
    connect: connectRequest(family, 2, connect),
    reconnect: reconnectRequest(family, 3, connect),
    resize: resizeRequest(family, 4, connect),
    disconnect: disconnectRequest(family, 5, 3),
  }))
    assert.equal(encodeRequest(request).toString("hex"), bytesOf(name).toString("hex"), name);
});

test("netlink: what a kernel answered is understood", () => {
  const messages = [
    ...decodeMessages(bytesOf("answer of Linux 6.18")),
    ...decodeMessages(bytesOf("end of Linux 6.18")),
  ];
  assert.equal(familyOf(messages), 16);
  assert.deepEqual(messages[1], { kind: "done", sequence: 7, errno: 0 });
  const refused = bytesOf("end of Linux 6.18");
  refused.writeInt32LE(-28, 16);
  assert.deepEqual(decodeMessages(refused), [{ kind: "done", sequence: 7, errno: 28 }]);
  assert.equal(familyOf(decodeMessages(refused)), null);
});

test("netlink: what is sent is read back: numbers, texts and what is nested", () => {
  const leaf = fc.oneof(
    fc.record({ u32: fc.nat(2 ** 31 - 1) }),
    fc.record({ u64: fc.maxSafeNat() }),
    fc.record({ text: fc.stringMatching(/^[a-z:]{0,40}$/) }),
  );
  const attribute = fc.record({ type: fc.integer({ min: 1, max: 0x3fff }), value: leaf });
  const nested = fc.record({
    type: fc.constant(7),
    value: fc.record({ nested: fc.array(attribute, { maxLength: 4 }) }),
  });
  fc.assert(
    fc.property(fc.array(fc.oneof(attribute, nested), { maxLength: 8 }), (attributes) => {
      const request = { family: 33, sequence: 9, command: 1, version: 1, attributes };
      const [message] = decodeMessages(encodeRequest(request));
      assert.ok(message.kind === "answer" && message.sequence === 9);
      requireSame(attributes, message.attributes);
    }),
  );
});

function requireSame(
  sent: readonly Attribute[],
  found: readonly { type: number; bytes: Uint8Array }[],
): void {
  assert.deepEqual(
    found.map(({ type }) => type),
    sent.map(({ type }) => type),
  );
  for (const [index, { value }] of sent.entries()) {
    const bytes = Buffer.from(found[index].bytes);
    if ("nested" in value) requireSame(value.nested, decodeAttributes(bytes));
    else if ("text" in value) assert.equal(bytes.toString(), `${value.text}\0`);
    else if ("u32" in value) assert.equal(bytes.readUInt32LE(), value.u32);
    else assert.equal(Number(bytes.readBigUInt64LE()), value.u64);
  }
}

test("netlink: fuzz: any bytes are understood, or refused as corrupt", () => {
  const damaged = fc
    .tuple(
      fc.constantFrom("answer of Linux 6.18", "end of Linux 6.18", "connect"),
      fc.array(fc.tuple(fc.nat(140), fc.nat(255)), { maxLength: 4 }),
      fc.nat(140),
    )
    .map(([name, edits, cut]) => {
      const bytes = bytesOf(name);
      for (const [at, value] of edits) bytes[at % bytes.length] = value;
      return bytes.subarray(0, Math.max(1, bytes.length - (cut % bytes.length)));
    });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), damaged), (bytes) => {
      try {
        for (const message of decodeMessages(bytes))
          if (message.kind === "answer")
            for (const { type, bytes: content } of message.attributes) {
              numberOf(message.attributes, type, 2);
              decodeAttributes(content);
            }
      } catch (error) {
        assert.ok(isTorusError(error, "corrupt"), String(error));
      }
    }),
    { numRuns: 5000 },
  );
});
