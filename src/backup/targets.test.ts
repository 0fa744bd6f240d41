// The targets, each by the suite; and what only one of them can meet.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { systemClock, systemRandom } from "#host/node";
import { isTorusError } from "#model";
import { DirectoryTarget } from "./directory-target.ts";
import { MemoryTarget } from "./memory-target.ts";
import { S3Server, testCredentials } from "./s3-server.fixture.ts";
import { S3Target } from "./s3-target.ts";
import { targetSuite } from "./target-suite.ts";

const base = mkdtempSync(join(tmpdir(), "torus-targets-"));
const servers: S3Server[] = [];
after(async () => {
  rmSync(base, { recursive: true });
  for (const server of servers) await server.close();
});

let count = 0;
function newDirectory(): string {
  count += 1;
  return join(base, `${count}`, "below");
}

async function s3(options: { deadlineMs?: number; attemptsMax?: number; bucket?: string } = {}) {
  const server = await S3Server.start("backups");
  servers.push(server);
  const { bucket = "backups", ...rest } = options;
  const place = { endpoint: server.endpoint, region: "eu-central-1", bucket, prefix: "torus/" };
  const deps = { fetch, clock: systemClock, random: systemRandom };
  return { server, target: new S3Target({ ...place, credentials: testCredentials, ...rest }, deps) };
}

targetSuite("memory target", async () => new MemoryTarget());
targetSuite("directory target", async () => new DirectoryTarget({ path: newDirectory(), unique: "u" }));
targetSuite("S3 target", async () => (await s3()).target);

it("directory target: is for its owner alone; what a crash left is not listed; what fails leaves nothing", async () => {
  const path = newDirectory();
  const target = new DirectoryTarget({ path, unique: "u" });
  await target.put("chunks/ab/abc", Buffer.from("x"));
  assert.equal(statSync(join(path, "chunks/ab/abc")).mode & 0o777, 0o600);
  assert.equal(statSync(join(path, "chunks")).mode & 0o777, 0o700);
  writeFileSync(join(path, "chunks/ab/.dead-1"), "half");
  assert.deepEqual((await target.list("chunks/", null)).keys, ["chunks/ab/abc"]);
  await assert.rejects(target.put("chunks/ab", Buffer.from("x")), (error) => isTorusError(error, "io"));
  assert.deepEqual(readdirSync(join(path, "chunks")), ["ab"]);
});

it("S3 target: what passes is tried again: 503, 429, a connection that drops, an answer that does not come", async () => {
  const { server, target } = await s3({ deadlineMs: 300 });
  await target.put("a", Buffer.from("one"));
  assert.deepEqual([...server.objects.keys()], ["torus/a"]);
  for (const fault of ["unavailable", "slow-down", "drop", "silence"] as const) {
    const before = server.requests;
    server.faults.push(fault);
    assert.equal(Buffer.from((await target.get("a")) ?? []).toString(), "one");
    assert.equal(server.requests - before, 2, fault);
  }
});

it("S3 target: what does not pass is told after so many attempts, and at once where another would not help", async () => {
  const { server, target } = await s3({ attemptsMax: 3, deadlineMs: 300 });
  server.faults.push("unavailable", "unavailable", "unavailable");
  await assert.rejects(target.put("a", Buffer.from("x")), (error) => {
    assert.ok(isTorusError(error, "unavailable"));
    assert.match(error.message, /s3:\/\/backups\/torus does not PUT a \(3 attempts\): SlowDown/);
    return true;
  });
  server.faults.push("silence", "silence", "silence");
  await assert.rejects(target.has("a"), (error) => isTorusError(error, "timeout"));
  assert.equal(server.requests, 6);
  const wrong = await s3({ bucket: "other" });
  for (const ask of [
    () => wrong.target.get("a"),
    () => wrong.target.put("a", Buffer.from("x")),
    () => wrong.target.list("a/", null),
  ])
    await assert.rejects(ask, /NoSuchBucket: The bucket does not exist/);
  const { endpoint } = (await s3()).server;
  const credentials = { ...testCredentials, secretAccessKey: "another" };
  const deps = { fetch, clock: systemClock, random: systemRandom };
  const place = { endpoint, region: "us-east-1", bucket: "backups", prefix: "" };
  const stranger = new S3Target({ ...place, credentials }, deps);
  await assert.rejects(stranger.get("a"), /SignatureDoesNotMatch/);
  await assert.rejects(stranger.has("a"), /status 403/);
});

it("S3 target: a server that lists out of order is refused, since pages would miss keys", async () => {
  const { server, target } = await s3();
  for (const key of ["l/a", "l/b", "l/c"]) await target.put(key, Buffer.from("x"));
  server.isUnordered = true;
  await assert.rejects(target.list("l/", null), /lists "torus\/l\/b" out of order/);
});
