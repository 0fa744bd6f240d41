// TLS with client certificates, and users with passwords, on a real etcd: what works, and what is said when it does not.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorCode, isTorusError } from "#model";
import { Authority } from "./certificates.ts";
import { Etcd } from "./etcd.ts";
import { scratchDirectory, waitFor } from "./programs.ts";

const put = (key: string, value: string) => ({ kind: "put", key, value }) as const;

async function refused(promise: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isTorusError(error, code), String(error));
    assert.match(error.message, message);
    return true;
  });
}

test("TLS with client certificates", async (t) => {
  const directory = scratchDirectory(t);
  const ours = await Authority.make(directory, "ours");
  const theirs = await Authority.make(directory, "theirs");
  const server = await ours.issue("server", "IP:127.0.0.1");
  const client = await ours.issue("client", "DNS:client");
  const stranger = await theirs.issue("client", "DNS:client");
  const etcd = await Etcd.start(t, { tls: { ca: ours.cert, ...server } });
  const url = (ca: string, pair?: { cert: string; key: string }, prefix = "") =>
    etcd.url(`${prefix}?ca=${ca}${pair ? `&cert=${pair.cert}&key=${pair.key}` : ""}`);

  const service = await etcd.connect(url(ours.cert, client));
  await service.transact([], [put("a", "1")]);
  assert.equal((await service.read([{ key: "a" }])).ranges[0][0].value, "1");
  assert.equal(service.url, etcd.url("/torus"), "people see neither files nor users");
  const seen = Promise.withResolvers<void>();
  service.watch("a", 1, { events: () => seen.resolve(), reset: (reason) => assert.fail(reason) });
  await service.transact([], [put("a", "2")]);
  await seen.promise;

  await refused(etcd.connect(url(ours.cert)), "unavailable", /refuses our certificate.*\?cert=FILE&key=FILE/);
  await refused(etcd.connect(url(ours.cert, stranger)), "unavailable", /refuses our certificate/);
  await refused(
    etcd.connect(url(theirs.cert, client)),
    "unavailable",
    /not trusted: name its CA with \?ca=FILE/,
  );
  await refused(etcd.connect(etcd.url()), "unavailable", /not trusted/);
  await refused(etcd.connect(url("/nowhere/ca.pem")), "unavailable", /cannot read \/nowhere\/ca\.pem/);
  await refused(etcd.connect(url(ours.cert, { ...client, key: server.key })), "unavailable", /key/);
  const byName = url(ours.cert, client).replace("127.0.0.1", "localhost");
  await refused(etcd.connect(byName), "unavailable", /its certificate is for other names/);
  await refused(
    etcd.connect(etcd.url().replace("etcds", "etcd"), { totalMs: 500 }),
    "unavailable",
    /if it uses TLS, write etcds/,
  );
});

test("TLS asked of an etcd that has none", async (t) => {
  const etcd = await Etcd.start(t);
  await refused(
    etcd.connect(etcd.url().replace("etcd", "etcds"), { totalMs: 500 }),
    "unavailable",
    /write etcd:\/\//,
  );
});

test("a user and a password: rights under one prefix, and a token that runs out", async (t) => {
  // Tokens live for a second after their last use.
  const etcd = await Etcd.start(t, { flags: ["--auth-token-ttl", "1"] });
  const key = Buffer.from("/torus/").toString("base64");
  const range_end = Buffer.from("/torus0").toString("base64");
  await etcd.post("auth/user/add", { name: "root", password: "r" });
  await etcd.post("auth/user/grant", { user: "root", role: "root" });
  await etcd.post("auth/user/add", { name: "joe", password: "pä:ss" });
  await etcd.post("auth/role/add", { name: "torus" });
  await etcd.post("auth/role/grant", { name: "torus", perm: { permType: "READWRITE", key, range_end } });
  await etcd.post("auth/user/grant", { user: "joe", role: "torus" });
  await etcd.post("auth/enable", {});

  const url = etcd.url().replace("://", "://joe@");
  const password = "pä:ss";
  const service = await etcd.connect(url, { password });
  const events: number[] = [];
  const resets: string[] = [];
  service.watch("a", 0, {
    events: (_, revision) => void events.push(revision),
    reset: (reason) => void resets.push(reason),
  });
  const lease = await service.grantLease(60_000);
  await service.transact([], [{ ...put("a", "1"), lease }]);
  await sleep(3500);
  await service.renewLease(lease);
  assert.equal((await service.transact([{ key: "a", revision: 1 }], [put("a", "2")])).committed, true);
  await waitFor("the watch", () => events.length === 2);

  const file = join(scratchDirectory(t), "password");
  writeFileSync(file, `${password}\n`, { mode: 0o600 });
  const fromFile = await etcd.connect(`${url}?password-file=${file}`);
  assert.equal((await fromFile.read([{ key: "a" }])).ranges[0][0].value, "2");

  await refused(etcd.connect(url, { password: "wrong" }), "invalid-argument", /password is wrong/);
  await refused(etcd.connect(url), "invalid-argument", /has user joe and no password/);
  await refused(etcd.connect(`${url}?password-file=/nowhere`), "unavailable", /cannot read \/nowhere/);
  await refused(etcd.connect(etcd.url()), "invalid-argument", /put USER@ in the metadata URL/);
  await refused(etcd.connect(`${url}/elsewhere`, { password }), "invalid-argument", /lacks a permission/);

  // Whoever changes users or roles makes every token old.
  const { token } = (await etcd.post("auth/authenticate", { name: "root", password: "r" })) as {
    token: string;
  };
  await etcd.post("auth/user/add", { name: "ann", password: "a" }, token);
  assert.equal((await service.transact([{ key: "a", revision: 2 }], [put("a", "3")])).committed, true);
  await etcd.post("auth/user/revoke", { name: "joe", role: "torus" }, token);
  await refused(service.transact([], [put("a", "4")]), "invalid-argument", /lacks a permission/);
  await waitFor("the watch", () => events.length === 3);
  assert.deepEqual(resets, []);
});
