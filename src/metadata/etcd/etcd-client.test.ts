// What the client makes of members that fail in every way: where it goes on, what it repeats, and what it says of the
// outcome. The members are fakes that answer as told.

import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { systemClock } from "#host/node";
import { type ErrorCode, isTorusError } from "#model";
import { quietLog } from "../quiet-log.fixture.ts";
import { EtcdMetadataService } from "./etcd-service.ts";
import { type FakeAnswer, FakeMember } from "./fake-member.fixture.ts";
import { FieldWriter } from "./protobuf-codec.ts";

const tryMs = 400;
const totalMs = 2400;
const random = { uint32: () => 0, bytes: (count: number) => new Uint8Array(count), uuid: () => "" };

async function startMembers(t: TestContext, count: number): Promise<FakeMember[]> {
  const members = await Promise.all(Array.from({ length: count }, () => FakeMember.start()));
  t.after(() => Promise.all(members.map((member) => member.close())));
  return members;
}

async function connect(
  t: TestContext,
  members: readonly FakeMember[],
  options: { user?: string; password?: string; probeMs?: number } = {},
): Promise<EtcdMetadataService> {
  const hosts = members.map(({ port }) => `127.0.0.1:${port}`).join(",");
  const url = `etcd://${options.user === undefined ? "" : `${options.user}@`}${hosts}`;
  const { password, probeMs } = options;
  const deps = { clock: systemClock, random, log: quietLog };
  const service = await EtcdMetadataService.open({ url, password, tryMs, totalMs, probeMs }, deps);
  t.after(() => service.close());
  return service;
}

const change = [{ kind: "put", key: "k", value: "v" }] as const;
const rejects = (promise: Promise<unknown>, code: ErrorCode, message = /./) =>
  assert.rejects(promise, (error) => {
    assert.ok(isTorusError(error, code), String(error));
    assert.match(error.message, message);
    return true;
  });

const unhappened: Record<string, FakeAnswer> = {
  "no leader": { status: 14, text: "etcdserver: no leader" },
  "not capable": { status: 9, text: "etcdserver: not capable" },
  "too many requests": { status: 8, text: "etcdserver: too many requests" },
  "a refused stream": { reset: 7 },
};
for (const [name, answer] of Object.entries(unhappened)) {
  it(`a transaction that did not reach etcd (${name}) is sent to the next member`, async (t) => {
    const [first, second] = await startMembers(t, 2);
    const service = await connect(t, [first, second]);
    first.behave = ({ method }) => (method === "Txn" ? answer : null);
    assert.equal((await service.transact([], change)).committed, true);
    assert.equal(first.called("Txn").length, 1);
    assert.equal(second.called("Txn").length, 1);
    await service.transact([], change);
    assert.equal(second.called("Txn").length, 2, "the member that works is kept");
  });
}

const unknown: Record<string, FakeAnswer> = {
  silence: "hang",
  "a lost connection": "drop the connection",
  "a reset stream": { reset: 2 },
  "etcd's own time-out": { status: 14, text: "etcdserver: request timed out" },
  "a member that stops": { status: 14, text: "etcdserver: server stopped" },
  "an unknown error": { status: 2, text: "surprise" },
  "an answer that cannot be read": { message: Uint8Array.of(0xff) },
};
for (const [name, answer] of Object.entries(unknown)) {
  it(`a transaction whose outcome is unknown (${name}) is not repeated; the next call goes elsewhere`, async (t) => {
    const [first, second] = await startMembers(t, 2);
    const service = await connect(t, [first, second]);
    first.behave = ({ method }) => (method === "Txn" ? answer : null);
    await rejects(service.transact([], change), "timeout");
    assert.equal(first.called("Txn").length + second.called("Txn").length, 1);
    assert.equal((await service.transact([], change)).committed, true);
    assert.equal(second.called("Txn").length, 1);
  });

  it(`a read (${name}) is repeated at the next member`, async (t) => {
    const [first, second] = await startMembers(t, 2);
    const service = await connect(t, [first, second]);
    first.behave = ({ method }) => (method === "Txn" ? answer : null);
    assert.equal((await service.read([])).revision, 9);
    assert.equal(second.called("Txn").length, 1);
  });
}

it("a member without a quorum, which answers no linearizable read, is passed over", async (t) => {
  const [first, second] = await startMembers(t, 2);
  first.behave = ({ method }) => (method === "Range" ? "hang" : null);
  const startMs = performance.now();
  const service = await connect(t, [first, second]);
  await service.transact([], change);
  assert.equal(first.called("Txn").length, 0);
  assert.ok(performance.now() - startMs < 3 * tryMs);
});

it("when no member answers, it is `unavailable` within the total, names each, and works again later", async (t) => {
  const members = await startMembers(t, 2);
  const service = await connect(t, members);
  for (const member of members) member.behave = () => "drop the connection";
  const startMs = performance.now();
  await rejects(service.read([]), "unavailable", new RegExp(`${members[1].port}: .*${members[0].port}: `));
  assert.ok(performance.now() - startMs < totalMs + 2 * tryMs);
  for (const member of members) member.behave = () => null;
  assert.equal((await service.read([])).revision, 9);
});

it("a call that others wait behind is bounded: too many are refused unsent", async (t) => {
  const [member] = await startMembers(t, 1);
  const service = await connect(t, [member]);
  member.behave = ({ method }) => (method === "Txn" ? "hang" : null);
  const calls = Array.from({ length: 1025 }, () => service.transact([], change));
  const outcomes = await Promise.allSettled(calls);
  const codes = outcomes.map((each) => (each.status === "rejected" ? each.reason.code : "ok"));
  assert.equal(codes.filter((code) => code === "unavailable").length, 1);
  assert.equal(codes.filter((code) => code === "timeout").length, 1024);
});

it("a member of another cluster gets nothing to do", async (t) => {
  const [first, second] = await startMembers(t, 2);
  second.clusterId = 8;
  const service = await connect(t, [first, second]);
  first.behave = () => "drop the connection";
  await rejects(service.transact([], change), "timeout");
  await rejects(service.transact([], change), "unavailable", /belongs to etcd cluster 8, not 7/);
  assert.equal(second.called("Txn").length, 0);
});

it("when every member is of another cluster by now, the one that was known is gone", async (t) => {
  const [first, second] = await startMembers(t, 2);
  const service = await connect(t, [first, second]);
  assert.equal(service.identity, "etcd 7");
  second.clusterId = 8;
  first.behave = () => "drop the connection";
  await rejects(service.transact([], change), "timeout");
  await rejects(service.read([]), "unavailable");
  assert.equal(service.failure?.code, undefined, "one may only have been named by mistake");
  first.behave = () => null;
  first.clusterId = 8;
  await rejects(service.read([]), "unavailable", /belongs to etcd cluster 8, not 7/);
  await rejects(service.read([]), "metadata-behind", /every member .* belongs to another etcd cluster/);
  assert.equal(service.failure?.code, "metadata-behind");
  assert.equal((await connect(t, [first, second])).identity, "etcd 8");
});

it("a store that went back in time: everything fails from then on, and watches are reset", async (t) => {
  const [first, second] = await startMembers(t, 2);
  second.revision = 4;
  const service = await connect(t, [first, second]);
  const reset = Promise.withResolvers<string>();
  first.behave = ({ method }) => (method === "Watch" ? "hang" : null);
  service.watch("", 9, { events: () => {}, reset: reset.resolve });
  await service.transact([], change);
  while (first.called("Watch").length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  first.behave = () => "drop the connection";
  await rejects(service.transact([], change), "timeout");
  await rejects(
    service.transact([], change),
    "metadata-behind",
    /went back: 127.* is at revision 4, and was at 10/,
  );
  assert.match(await reset.promise, /went back/);
  assert.equal(service.failure?.code, "metadata-behind");
  first.behave = () => null;
  await rejects(service.read([]), "metadata-behind");
  assert.equal(second.called("Txn").length, 0, "nothing was sent to it");
});

it("while a watch is open, a member that falls silent is noticed and left", async (t) => {
  const [first, second] = await startMembers(t, 2);
  const hang = ({ method }: { method: string }) => (method === "Watch" ? "hang" : null);
  first.behave = hang;
  second.behave = hang;
  const service = await connect(t, [first, second], { probeMs: 50 });
  service.watch("", 9, { events: () => {}, reset: () => {} });
  while (first.called("Watch").length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  first.behave = () => "hang";
  while (second.called("Watch").length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(first.called("Txn").length, 0);
});

it("no space: certain when a guarded key that would have changed has not, else unknown", async (t) => {
  const [member] = await startMembers(t, 1);
  const service = await connect(t, [member]);
  const entry = new FieldWriter().text(1, "/torus/k").int(2, 5).int(3, 5).finish();
  const range = new FieldWriter().message(1, new FieldWriter().message(2, entry).finish()).finish();
  let writes = 0;
  member.behave = ({ method, message }) => {
    if (method !== "Txn") return null;
    if (message[0] === 0x0a) {
      writes += 1;
      return { status: 8, text: "etcdserver: mvcc: database space exceeded" };
    }
    return { message: new FieldWriter().message(1, member.header()).message(3, range).finish() };
  };
  await rejects(service.transact([{ key: "k", revision: 4 }], change), "full", /compact and defragment/);
  await rejects(service.transact([{ key: "k", revision: 3 }], change), "timeout", /unknown/);
  await rejects(service.transact([{ key: "other", revision: 4 }], change), "timeout");
  assert.equal(writes, 3);
});

const refusals: [FakeAnswer, ErrorCode, RegExp][] = [
  [{ status: 7, text: "etcdserver: permission denied" }, "invalid-argument", /grant-permission/],
  [{ status: 3, text: "etcdserver: user name is empty" }, "invalid-argument", /put USER@/],
  [{ status: 3, text: "etcdserver: request is too large" }, "invalid-argument", /--max-request-bytes/],
  [
    { status: 3, text: "etcdserver: too many operations in txn request" },
    "invalid-argument",
    /--max-txn-ops/,
  ],
  [
    { status: 8, text: "grpc: received message larger than max" },
    "invalid-argument",
    /larger than etcd takes/,
  ],
  [{ status: 15, text: "etcdserver: corrupt cluster" }, "corrupt", /alarm list/],
  [{ status: 12, text: "unknown service" }, "unsupported", /3\.4 or newer/],
];
it("what etcd refuses is told with what to do, and not repeated", async (t) => {
  const [member] = await startMembers(t, 1);
  const service = await connect(t, [member]);
  for (const [answer, code, message] of refusals) {
    member.calls.length = 0;
    member.behave = ({ method }) => (method === "Txn" ? answer : null);
    await rejects(service.transact([], change), code, message);
    assert.equal(member.called("Txn").length, 1);
  }
  member.behave = ({ method }) => (method === "Txn" ? { http: 502 } : null);
  await rejects(service.transact([], change), "timeout", /HTTP status 502/);
});

it("a token that is not valid any more is replaced, also for a transaction, and the rest goes on with it", async (t) => {
  const [member] = await startMembers(t, 1);
  let valid = "token-1";
  member.behave = ({ method, headers }) =>
    method === "Authenticate" || headers["token"] === valid
      ? null
      : { status: 16, text: "etcdserver: invalid auth token" };
  const service = await connect(t, [member], { user: "joe", password: "x" });
  valid = "token-2";
  await service.transact([], change);
  await service.read([]);
  assert.equal(member.called("Authenticate").length, 2);
  valid = "none";
  await rejects(service.transact([], change), "unavailable", /invalid auth token/);
  assert.ok(member.called("Authenticate").length < 20);
});

it("who we are: a wrong password, none at all, and an etcd that does not ask", async (t) => {
  const [member] = await startMembers(t, 1);
  member.behave = ({ method }) =>
    method === "Authenticate"
      ? { status: 3, text: "etcdserver: authentication failed, invalid user ID or password" }
      : null;
  const wrong = /127.*authentication failed.*password is wrong/;
  await rejects(connect(t, [member], { user: "joe", password: "x" }), "invalid-argument", wrong);
  await rejects(connect(t, [member], { user: "joe" }), "invalid-argument", /has user joe and no password/);
  member.behave = ({ method }) =>
    method === "Authenticate" ? { status: 9, text: "etcdserver: authentication is not enabled" } : null;
  const service = await connect(t, [member], { user: "joe", password: "x" });
  assert.equal((await service.transact([], change)).committed, true);
});
