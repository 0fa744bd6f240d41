// torusctl file, with real peers on loopback; and what takes a file for a disk.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, it } from "node:test";
import { connect } from "#client";
import { TorusctlCluster } from "./peers.fixture.ts";

const MiB = 2 ** 20;
let torusctl: TorusctlCluster;

beforeEach(async () => {
  torusctl = await TorusctlCluster.start("1MiB");
});

afterEach(() => torusctl.stop());

async function files(set = ""): Promise<string[]> {
  const listed = (await torusctl.json(`file list ${set}`)) as {
    files: { name: string; snapshots: number }[];
  };
  for (const { name, snapshots } of listed.files) assert.equal(snapshots, 0, `a snapshot of ${name} is left`);
  return listed.files.map(({ name }) => name);
}

/** What `file get` brings, to a file of its own. */
async function bytesOf(name: string): Promise<Buffer> {
  const local = join(torusctl.home, "got");
  await torusctl.json(`file get ${name} ${local}`);
  return readFileSync(local);
}

it("torusctl file put and get: to the byte, of any length, through files and pipes, with holes", async () => {
  const local = join(torusctl.home, "in");
  for (const length of [0, 1, 4096, 5000, 3 * MiB + 17]) {
    const bytes = Buffer.concat([randomBytes(length), Buffer.alloc(length === 5000 ? 9000 : 0)]);
    writeFileSync(local, bytes);
    const { code, out, err } = await torusctl.run(`file put ${local} set/f${length}`);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /^put .*in into new file set\/f\d+: /);
    assert.ok((await bytesOf(`set/f${length}`)).equals(bytes), `${length} bytes`);
  }
  const image = Buffer.concat([randomBytes(MiB), Buffer.alloc(20 * MiB), randomBytes(100), Buffer.alloc(50)]);
  torusctl.stdin.end(image);
  assert.deepEqual(await torusctl.json("file put - piped"), {
    name: "piped",
    local: "-",
    isNew: true,
    lengthBytes: image.length,
    writtenBytes: MiB + 150,
  });
  assert.ok((await bytesOf("piped")).equals(image));
  assert.ok(statSync(join(torusctl.home, "got")).blocks * 512 < 3 * MiB, "the hole is one");
  torusctl.stdout = new PassThrough({ highWaterMark: 2 ** 31 });
  const piped = await torusctl.run("file get piped - --progress");
  assert.deepEqual([piped.code, piped.out], [0, ""]);
  assert.match(piped.err, /^getting piped: \[#+\.*\] +\d+%, /m);
  assert.ok((torusctl.stdout.read() as Buffer).equals(image));
  assert.deepEqual(await files("set"), ["set/f0", "set/f1", "set/f3145745", "set/f4096", "set/f5000"]);
  assert.equal((await files()).length, 6);
});

it("torusctl file create, truncate, delete and list", async () => {
  assert.match((await torusctl.run("file list")).out, /no files yet: torusctl file put LOCAL NAME/);
  await torusctl.json("file create empty");
  assert.deepEqual(await torusctl.json("file create logs/a --size 10001"), {
    name: "logs/a",
    lengthBytes: 10001,
  });
  assert.ok((await bytesOf("logs/a")).equals(Buffer.alloc(10001)));
  const local = join(torusctl.home, "in");
  const bytes = randomBytes(9000);
  writeFileSync(local, bytes);
  await torusctl.json(`file put ${local} empty`);
  await torusctl.json("file truncate empty 5000");
  const longer = await torusctl.json("file truncate empty 8KiB");
  assert.deepEqual(longer, { name: "empty", lengthBytes: 8192, beforeBytes: 5000 });
  const expected = Buffer.concat([bytes.subarray(0, 5000), Buffer.alloc(3192)]);
  assert.ok((await bytesOf("empty")).equals(expected));
  await torusctl.json("file truncate empty 0");
  assert.equal((await bytesOf("empty")).length, 0);
  const { out } = await torusctl.run("file list logs");
  assert.match(out, /^NAME +USED +STATUS +SNAPSHOTS +HOLDER\nlogs\/a +\S+ \S+ +free +0 +-\n$/);
  const deleted = (await torusctl.json("file delete empty logs/a")) as { deleted: { name: string }[] };
  assert.deepEqual(
    deleted.deleted.map(({ name }) => name),
    ["empty", "logs/a"],
  );
  assert.deepEqual(await files(), []);
});

it("torusctl file put: over what is there only with --overwrite; what fails leaves nothing of it", async () => {
  const local = join(torusctl.home, "in");
  const bytes = randomBytes(6 * MiB);
  writeFileSync(local, bytes);
  await torusctl.json(`file put ${local} f`);
  const refused = await torusctl.run(`file put ${local} f`);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /file "f" has 6.0 MiB in it: use --overwrite/);
  assert.ok((await bytesOf("f")).equals(bytes));
  writeFileSync(local, bytes.subarray(5, 5000));
  await torusctl.json(`file put ${local} f --overwrite`);
  await torusctl.json("file truncate f 10000");
  assert.ok((await bytesOf("f")).equals(Buffer.concat([bytes.subarray(5, 5000), Buffer.alloc(5005)])));
  for (const [name, left] of [
    ["f --overwrite", ["f"]],
    ["new", ["f"]],
  ] as const) {
    torusctl.stdin = new PassThrough();
    const running = torusctl.run(`file put - ${name}`);
    torusctl.stdin.write(bytes);
    while (torusctl.stdin.readableLength > 0) await new Promise(setImmediate);
    torusctl.stdin.destroy(new Error("the pipe broke"));
    const { code, err } = await running;
    assert.equal(code, 1);
    assert.match(err, /the input cannot be read: the pipe broke/);
    assert.equal(/what was in file "f" is gone; it is empty now/.test(err), name !== "new");
    assert.deepEqual(await files(), left);
  }
  assert.equal((await bytesOf("f")).length, 0);
});

it("torusctl file get: beside who has it open, and of a snapshot; a file that could not be written is not there", async () => {
  await using cluster = await connect(torusctl.url);
  await using file = await cluster.openFile("f", { create: true });
  await file.writeAt(0, Buffer.from("one"));
  await cluster.takeSnapshot("f", "s");
  await file.writeAt(0, Buffer.from("two!"));
  assert.equal((await bytesOf("f")).toString(), "two!");
  assert.equal((await bytesOf("f@s")).toString(), "one");
  assert.match((await torusctl.run("file delete f")).err, /is attached by process \d+/);
  const failed = await torusctl.run(`file get f ${torusctl.home}/no/such/directory`);
  assert.equal(failed.code, 1);
  assert.match(failed.err, /such\/directory cannot be written: ENOENT/);
  const missing = await torusctl.run(`file get none ${join(torusctl.home, "none")}`);
  assert.equal(missing.code, 1);
  assert.match(missing.err, /there is no file "none": torusctl file list/);
  assert.ok(!readdirSync(torusctl.home).some((name) => name.includes("none")));
});

it("a file that could not be filled goes again, but not what somebody else has put into it meanwhile", async () => {
  await using cluster = await connect(torusctl.url);
  const failing = cluster.createFile("f", async (file) => {
    await file.writeAt(0, Uint8Array.of(1));
    throw new Error("no more");
  });
  await assert.rejects(failing, /^Error: no more$/);
  assert.deepEqual(await files(), []);
  const taken = cluster.createFile("f", async () => {
    await using other = await connect(torusctl.url);
    await using file = await other.openFile("f", { force: true });
    await file.writeAt(0, Buffer.from("other"));
    throw new Error("no more");
  });
  await assert.rejects(
    taken,
    /no more; and file "f", .* is there still: somebody else has opened file "f" meanwhile/,
  );
  assert.equal((await bytesOf("f")).toString(), "other");
});

it("torusctl: files and volumes are not taken for each other, and names are what they may be", async () => {
  await torusctl.json("volume create-block db 1MiB");
  await torusctl.json("file create f --size 1");
  await torusctl.json("volume snapshot create f@s");
  assert.match((await torusctl.run("volume list")).out, /^f +- +.* file +free/m);
  const { volumes } = (await torusctl.json("volume list")) as {
    volumes: { name: string; sizeBytes: unknown }[];
  };
  const sizes = volumes.map(({ name, sizeBytes }) => [name, sizeBytes]);
  assert.deepEqual(
    new Map(sizes as [string, unknown][]),
    new Map([
      ["db", MiB],
      ["f", null],
    ] as [string, unknown][]),
  );
  const local = join(torusctl.home, "in");
  writeFileSync(local, "x");
  const isFile = /"f" is a file, not a block volume: use torusctl file get and put/;
  const isVolume = /"db" is a block volume, not a file: use torusctl volume and block/;
  for (const [args, message] of [
    [`block dump f ${local}`, isFile],
    [`block dump f@s ${local}`, isFile],
    [`block load ${local} f --overwrite`, isFile],
    [`volume backup f ${torusctl.home}/backups`, isFile],
    [`file put ${local} db --overwrite`, isVolume],
    [`file get db ${local}`, isVolume],
    ["file delete db", isVolume],
    ["file truncate db 0", isVolume],
    ["file create a/b/c", /name "b\/c" has a "\/" in it: use 1 to 128 of/],
    ["file create .f", /name ".f" starts with a dot/],
    ["file create big --size 256TiB", /size "256TiB" is too large: a file has up to 281474976706560 bytes/],
    ["file truncate f -1", /-1/],
    ["file truncate f 1.5", /size "1.5" is not a size/],
  ] as const) {
    const { code, err } = await torusctl.run(args);
    assert.equal(code, 2, `${args}: ${err}`);
    assert.match(err, message);
  }
  for (const args of [
    `file put ${local}.none new`,
    "file create db",
    "file truncate none 0",
    "file delete none",
  ])
    assert.equal((await torusctl.run(args)).code, 1, args);
  assert.equal(readFileSync(local, "utf8"), "x");
  const { err } = await torusctl.run("file delete f");
  assert.match(err, /has snapshots \(s\)/);
  await torusctl.json("file delete f --snapshots");
  assert.deepEqual(await files(), []);
});
