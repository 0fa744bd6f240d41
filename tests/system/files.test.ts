// Files of the cluster with real processes: in and out, to the byte and to the end; a put that is killed in the middle leaves an empty file, which
// the next put fills; and nothing that serves disks takes a file for one.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { test } from "node:test";
import { Daemons } from "./daemons.ts";
import { Program, root, waitFor } from "./programs.ts";

const MiB = 2 ** 20;
const main = join(root, "src/cmd/torusctl/main.ts");

interface Listed {
  readonly name: string;
  readonly usedBytes: number;
  readonly status: string;
}

const digestOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

async function files(daemons: Daemons): Promise<readonly Listed[]> {
  const listed: { files: Listed[] } = JSON.parse(await daemons.torusctl("file", "list", "-o", "json"));
  return listed.files;
}

/** Puts what has no end. */
function beginPut(t: TestContext, daemons: Daemons, name: string): Program {
  const put = `${process.execPath} ${main} -C '${daemons.metadataUrl}' file put - ${name} --progress`;
  const endless = "while head -c 1M /dev/urandom; do sleep 0.1; done";
  const program = new Program("sh", ["-c", `${endless} | ${put}`]);
  t.after(() => program.killGroup());
  return program;
}

async function killedPut(t: TestContext, daemons: Daemons): Promise<void> {
  const program = beginPut(t, daemons, "set/killed");
  const middle = /putting set\/killed: ([2-9]|\d\d+)\.\d MiB/;
  await waitFor("the put to be in the middle", () => middle.test(program.output));
  program.killGroup();
  await program.ended;
  const [left] = await files(daemons);
  assert.equal(left.name, "set/killed");
  const local = join(daemons.directory, "left");
  await daemons.torusctl("file", "get", "set/killed", local);
  assert.equal(readFileSync(local).length, 0, "the name never has a part");
  const bytes = randomBytes(3 * MiB + 5);
  writeFileSync(local, bytes);
  await daemons.torusctl("file", "put", local, "set/killed");
  await requireFile(daemons, "set/killed", bytes);
}

async function requireFile(daemons: Daemons, name: string, bytes: Buffer): Promise<void> {
  const local = join(daemons.directory, "out");
  await daemons.torusctl("file", "get", name, local);
  assert.equal(digestOf(readFileSync(local)), digestOf(bytes), name);
}

async function refusedAsDisk(daemons: Daemons): Promise<void> {
  const server = await daemons.startServer([]);
  const nbdinfo = (...args: string[]) => new Program("nbdinfo", args).end();
  const uri = (name: string) => `nbd+unix:///${name}?socket=${server.socket}`;
  const listed = await nbdinfo("--list", uri(""));
  assert.equal(listed.code, 0, listed.stderr);
  assert.match(listed.stdout, /export="disk"/);
  assert.doesNotMatch(listed.stdout, /set\/killed/);
  const refused = await nbdinfo(uri("set/killed"));
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /server replied with error/);
  await waitFor("the server to say why", () =>
    /volume \\?"set\/killed\\?" is no block volume: it is a file/.test(server.program.output),
  );
  await daemons.stop(server);
}

test("files in and out of a cluster, over a put that is killed in the middle, and refused as a disk", async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await killedPut(t, daemons);
  await daemons.torusctl("volume", "create-block", "disk", "1MiB");
  await refusedAsDisk(daemons);
  assert.match(await daemons.torusctl("volume", "list"), /^set\/killed +- +3\.0 MiB/m);
  await daemons.torusctl("file", "delete", "set/killed");
  assert.deepEqual(await files(daemons), []);
});
