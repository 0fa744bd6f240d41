// The handshake: metadata contexts, extended headers and STARTTLS.

import assert from "node:assert/strict";
import { test } from "node:test";
import { contextsMax } from "./limits.ts";
import { option, reply, transmissionFlag } from "./nbd-codec.ts";
import type { NegotiationMachine } from "./negotiation-machine.ts";
import { enter, isGarbage, optionBytes, replies, send, started } from "./negotiation-suite.ts";
import { contextData, goData } from "./server-suite-client.ts";

/** Ids and names of contexts in `output`, and the type of the last reply. */
function contexts(output: Buffer): [number, string][] {
  const sent = replies(output);
  assert.equal(sent.pop()?.type, reply.ack);
  return sent.map(({ type, data }) => {
    assert.equal(type, reply.metaContext);
    return [data.readUInt32BE(0), data.toString("utf8", 4)];
  });
}

const names = ["base:allocation", "x-a:one", "x-a:two"];

test("LIST_META_CONTEXT: all, by name, by what stands before a colon", () => {
  const machine = started();
  for (const [queries, found] of [
    [[], names],
    [["base:"], ["base:allocation"]],
    [
      ["x-a:", "nobody:s"],
      ["x-a:one", "x-a:two"],
    ],
    [["x-a:two", "x-a:o"], ["x-a:two"]],
    [["qemu:"], []],
  ] as const) {
    const step = send(machine, option.listMetaContext, contextData("vol", [...queries]));
    assert.deepEqual(step, { kind: "contexts", name: "vol" });
    machine.listedContexts(names);
    assert.equal(machine.next().kind, "more");
    assert.deepEqual(
      contexts(machine.takeOutput()),
      found.map((name) => [0, name]),
    );
  }
});

/** A machine that agreed on structured replies and chose contexts of "vol". */
function withContexts(queries: string[]): NegotiationMachine {
  const machine = started();
  send(machine, option.structuredReply);
  machine.takeOutput();
  send(machine, option.setMetaContext, contextData("vol", queries));
  machine.listedContexts(names);
  machine.next();
  return machine;
}

test("SET_META_CONTEXT: whole names, each with an id; they are of one export, and of the last call", () => {
  const machine = withContexts(["x-a:two", "base:", "base:allocation", "x-a:two"]);
  const chosen = [
    { id: 1, name: "base:allocation" },
    { id: 2, name: "x-a:two" },
  ];
  assert.deepEqual(
    contexts(machine.takeOutput()),
    chosen.map(({ id, name }) => [id, name]),
  );
  assert.deepEqual(enter(machine).contexts, chosen);
  assert.deepEqual(enter(withContexts(names), "other").contexts, []);
  const again = withContexts(names);
  send(again, option.setMetaContext, contextData("vol", []));
  again.listedContexts(names);
  assert.deepEqual(enter(again).contexts, []);
  const failed = withContexts(names);
  send(failed, option.setMetaContext, Buffer.alloc(3));
  assert.deepEqual(enter(failed).contexts, []);
  const refused = withContexts(names);
  send(refused, option.setMetaContext, contextData("vol", names));
  refused.refused("not-found", "no such export");
  assert.deepEqual(enter(refused).contexts, []);
});

test("the empty name of contexts is the one export there is", () => {
  const machine = started();
  send(machine, option.structuredReply);
  assert.equal(send(machine, option.setMetaContext, contextData("", ["base:allocation"])).kind, "list");
  machine.listed([{ name: "vol", description: "" }]);
  assert.deepEqual(machine.next(), { kind: "contexts", name: "vol" });
  machine.listedContexts(names);
  assert.equal(enter(machine).contexts.length, 1);
});

test("too many contexts are refused", () => {
  const machine = started();
  send(machine, option.structuredReply);
  machine.takeOutput();
  const many = Array.from({ length: contextsMax + 1 }, (_, index) => `x-a:${index}`);
  send(machine, option.setMetaContext, contextData("vol", many));
  machine.listedContexts(many);
  machine.next();
  assert.equal(replies(machine.takeOutput())[0].type, reply.errorTooBig);
  assert.deepEqual(enter(machine).contexts, []);
});

test("extended headers take the place of structured replies, and need GO", () => {
  const machine = started();
  send(machine, option.structuredReply);
  send(machine, option.extendedHeaders);
  machine.takeOutput();
  send(machine, option.structuredReply);
  assert.equal(replies(machine.takeOutput())[0].type, reply.errorExtendedHeadersRequired);
  send(machine, option.setMetaContext, contextData("vol", ["base:allocation"]));
  machine.listedContexts(names);
  machine.next();
  const step = enter(machine);
  assert.equal(step.style, "extended");
  const flags = replies(machine.takeOutput())[0].data.readUInt16BE(10);
  assert.ok(flags & transmissionFlag.blockStatusPayload);
  assert.ok(flags & transmissionFlag.sendDf);
  const old = started();
  send(old, option.extendedHeaders);
  send(old, option.exportName, Buffer.from("vol"));
  assert.ok(isGarbage(old));
});

test("STARTTLS: acknowledged once, and everything agreed on before is forgotten", () => {
  for (const tls of ["on", "require"] as const) {
    const machine = started(3, tls);
    if (tls === "on") {
      send(machine, option.extendedHeaders);
      send(machine, option.setMetaContext, contextData("vol", ["base:allocation"]));
      machine.listedContexts(names);
      machine.next();
      machine.takeOutput();
    }
    assert.deepEqual(send(machine, option.startTls), { kind: "startTls" });
    assert.deepEqual(replies(machine.takeOutput()), [
      { option: option.startTls, type: reply.ack, data: Buffer.alloc(0) },
    ]);
    machine.secured();
    assert.equal(machine.next().kind, "more");
    send(machine, option.startTls);
    assert.equal(replies(machine.takeOutput())[0].type, reply.errorInvalid);
    const { style, contexts: chosen } = enter(machine);
    assert.deepEqual([style, chosen], ["simple", []]);
  }
});

test("where TLS is required nothing else is answered before it", () => {
  const machine = started(3, "require");
  for (const number of [
    option.list,
    option.go,
    option.info,
    option.structuredReply,
    option.setMetaContext,
    99,
  ]) {
    assert.equal(send(machine, number, goData("vol")).kind, "more");
    assert.equal(replies(machine.takeOutput())[0].type, reply.errorTlsRequired);
  }
  send(machine, option.startTls);
  machine.secured();
  machine.takeOutput();
  assert.equal(send(machine, option.list).kind, "list");
  const aborting = started(3, "require");
  const aborted = send(aborting, option.abort);
  assert.ok(aborted.kind === "close" && !aborted.garbage);
  const old = started(3, "require");
  const closed = send(old, option.exportName, Buffer.from("vol"));
  assert.ok(closed.kind === "close");
  assert.equal(old.takeOutput().length, 0);
});

test("bytes that came with STARTTLS are not protected by it: the session ends, unanswered", () => {
  for (const rest of [Buffer.from("x"), optionBytes(option.structuredReply)]) {
    const machine = started(3, "on");
    machine.push(Buffer.concat([optionBytes(option.startTls), rest]));
    assert.ok(isGarbage(machine));
    assert.equal(machine.takeOutput().length, 0);
  }
  const withData = started(3, "on");
  send(withData, option.startTls, Buffer.alloc(1));
  assert.equal(replies(withData.takeOutput())[0].type, reply.errorInvalid);
});
