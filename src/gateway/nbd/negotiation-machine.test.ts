// The handshake, option by option, without a socket.

import assert from "node:assert/strict";
import { test } from "node:test";
import { optionBytesMax, optionsMax } from "./limits.ts";
import { option, reply, transmissionFlag } from "./nbd-codec.ts";
import { NegotiationMachine } from "./negotiation-machine.ts";
import { info, isGarbage, optionBytes, replies, send, started } from "./negotiation-suite.ts";
import { contextData, goData } from "./server-suite-client.ts";

test("GO opens the export, tells about it and goes on to transmission", () => {
  const machine = started();
  const step = send(machine, option.go, goData("vol", [1, 2, 3, 99]));
  assert.deepEqual(step, { kind: "open", name: "vol" });
  machine.found(info);
  assert.deepEqual(machine.next(), { kind: "transmit", style: "simple", contexts: [] });
  const sent = replies(machine.takeOutput());
  assert.deepEqual(
    sent.map(({ type }) => type),
    [reply.info, reply.info, reply.info, reply.info, reply.ack],
  );
  assert.deepEqual(
    sent.slice(0, 4).map(({ data }) => data.readUInt16BE(0)),
    [0, 1, 2, 3],
  );
  assert.equal(sent[0].data.readUInt16BE(10) & transmissionFlag.sendDf, 0);
  assert.equal(sent[2].data.toString("utf8", 2), "a volume");
});

test("INFO tells without opening, only what was asked for, and the negotiation goes on", () => {
  const machine = started();
  assert.deepEqual(send(machine, option.info, goData("vol")), { kind: "describe", name: "vol" });
  machine.found(info);
  assert.equal(machine.next().kind, "more");
  assert.deepEqual(
    replies(machine.takeOutput()).map(({ type }) => type),
    [reply.info, reply.ack],
  );
  assert.equal(send(machine, option.go, goData("vol")).kind, "open");
});

test("structured replies are negotiated and change the flags", () => {
  const machine = started();
  assert.equal(send(machine, option.structuredReply).kind, "more");
  assert.deepEqual(replies(machine.takeOutput()), [
    { option: option.structuredReply, type: reply.ack, data: Buffer.alloc(0) },
  ]);
  send(machine, option.go, goData("vol"));
  machine.found({ ...info, readOnly: true });
  assert.deepEqual(machine.next(), { kind: "transmit", style: "structured", contexts: [] });
  const flags = replies(machine.takeOutput())[0].data.readUInt16BE(10);
  assert.ok(flags & transmissionFlag.sendDf);
  assert.ok(flags & transmissionFlag.readOnly);
  assert.ok(flags & transmissionFlag.canMultiConn);
});

test("EXPORT_NAME has its own answer, with zeroes for clients that want them", () => {
  for (const [clientFlags, length] of [
    [1, 134],
    [3, 10],
    [0, 134],
  ]) {
    const machine = started(clientFlags);
    assert.equal(send(machine, option.exportName, Buffer.from("vol")).kind, "open");
    machine.found(info);
    assert.equal(machine.next().kind, "transmit");
    const output = machine.takeOutput();
    assert.equal(output.length, length);
    assert.equal(output.readUInt32BE(4), 1 << 20);
  }
});

test("EXPORT_NAME refused closes without a word; GO refused says why and goes on", () => {
  const old = started();
  send(old, option.exportName, Buffer.from("nope"));
  old.refused("not-found", "no such export");
  assert.equal(old.next().kind, "close");
  assert.equal(old.takeOutput().length, 0);

  const machine = started();
  send(machine, option.go, goData("vol"));
  machine.refused("busy", "attached by host-7");
  assert.equal(machine.next().kind, "more");
  const [sent] = replies(machine.takeOutput());
  assert.equal(sent.type, reply.errorPolicy);
  assert.equal(sent.data.toString(), "attached by host-7");
});

test("LIST names every export", () => {
  const machine = started();
  assert.equal(send(machine, option.list).kind, "list");
  machine.listed([
    { name: "a", description: "" },
    { name: "b", description: "second" },
  ]);
  assert.equal(machine.next().kind, "more");
  const sent = replies(machine.takeOutput());
  assert.deepEqual(
    sent.map(({ type }) => type),
    [reply.server, reply.server, reply.ack],
  );
  assert.equal(sent[1].data.toString("latin1"), "\0\0\0\x01bsecond");
});

test("the empty name is the one export there is, and an error when there are more", () => {
  for (const number of [option.go, option.exportName]) {
    const machine = started();
    const data = number === option.go ? goData("") : Buffer.alloc(0);
    assert.equal(send(machine, number, data).kind, "list");
    machine.listed([
      { name: "only", description: "" },
      { name: "only@monday", description: "", byNameOnly: true },
    ]);
    assert.deepEqual(machine.next(), { kind: "open", name: "only" });
  }
  const machine = started();
  send(machine, option.info, goData(""));
  machine.listed([
    { name: "a", description: "" },
    { name: "b", description: "" },
  ]);
  assert.equal(machine.next().kind, "more");
  const [sent] = replies(machine.takeOutput());
  assert.equal(sent.type, reply.errorUnknown);
  assert.match(sent.data.toString(), /name one of a, b/);
  send(machine, option.go, goData(""));
  machine.listed([]);
  machine.next();
  assert.equal(replies(machine.takeOutput())[0].type, reply.errorUnknown);
});

test("options that are not offered are read, dropped and refused; the next one is understood", () => {
  const machine = started();
  for (const [number, length] of [
    [5, 0], // STARTTLS
    [4, 1],
    [12, 4000],
    [0xffffffff, optionBytesMax],
  ]) {
    assert.equal(send(machine, number, Buffer.alloc(length, 0x49)).kind, "more");
    const [sent, ...others] = replies(machine.takeOutput());
    assert.equal(sent.type, reply.errorUnsupported);
    assert.equal(sent.option, number);
    assert.equal(others.length, 0);
  }
  assert.equal(send(machine, option.list).kind, "list");
});

test("an option too big is refused and ends the session before its data comes", () => {
  const machine = started();
  const header = optionBytes(option.go).subarray(0, 16);
  header.writeUInt32BE(optionBytesMax + 1, 12);
  machine.push(header);
  const step = machine.next();
  assert.ok(step.kind === "close" && step.garbage);
  assert.equal(replies(machine.takeOutput())[0].type, reply.errorTooBig);
});

test("data where none belongs and data that does not add up are invalid", () => {
  const machine = started();
  for (const [number, data] of [
    [option.list, Buffer.alloc(1)],
    [option.structuredReply, Buffer.alloc(3)],
    [option.extendedHeaders, Buffer.alloc(1)],
    [option.listMetaContext, Buffer.alloc(7)],
    [option.listMetaContext, contextData("vol", ["nonsense"])],
    [option.setMetaContext, contextData("vol", ["base:allocation"])],
    [option.go, Buffer.alloc(5)],
    [option.info, Buffer.from("ffffffff0000", "hex")],
  ] as const) {
    assert.equal(send(machine, number, data).kind, "more");
    assert.equal(replies(machine.takeOutput())[0].type, reply.errorInvalid);
  }
});

test("ABORT is acknowledged, whatever data it has", () => {
  const machine = started();
  const step = send(machine, option.abort, Buffer.from("bye"));
  assert.ok(step.kind === "close" && !step.garbage);
  assert.equal(replies(machine.takeOutput())[0].type, reply.ack);
});

test("unknown client flags, a wrong magic and endless options end the session as garbage", () => {
  const flags = started(7);
  assert.ok(isGarbage(flags));
  const http = started();
  http.push(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
  assert.ok(isGarbage(http));
  const endless = started();
  for (let count = 0; count < optionsMax; count += 1)
    assert.equal(send(endless, option.structuredReply).kind, "more");
  endless.push(optionBytes(option.structuredReply));
  assert.ok(isGarbage(endless));
});

test("bytes that came with GO belong to transmission", () => {
  const machine = started();
  machine.push(Buffer.concat([optionBytes(option.go, goData("vol")), Buffer.from("rest")]));
  assert.equal(machine.next().kind, "open");
  machine.found(info);
  assert.equal(machine.next().kind, "transmit");
  assert.equal(machine.takeRest().toString(), "rest");
});

test("bytes may come one by one", () => {
  const machine = new NegotiationMachine();
  machine.takeOutput();
  const bytes = Buffer.concat([Buffer.from("00000003", "hex"), optionBytes(option.go, goData("vol", [3]))]);
  for (const byte of bytes.subarray(0, -1)) {
    machine.push(Buffer.of(byte));
    assert.equal(machine.next().kind, "more");
  }
  machine.push(bytes.subarray(-1));
  assert.equal(machine.next().kind, "open");
});
