// The original's own tests of its distributed files (file_blackbox_test.go, integration_test.go), by their names, against the library: a
// whole cluster, over sockets, and clients that come one after another. And the example that the documentation shows.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { test } from "node:test";
import { type Cluster, connect, type TorusFile } from "torus";
import { TorusctlCluster } from "../../src/cmd/torusctl/peers.fixture.ts";
import { root, run } from "../system/programs.ts";

async function open(t: TestContext): Promise<{ cluster: Cluster; url: string }> {
  const fixture = await TorusctlCluster.start();
  const cluster = await connect(fixture.url);
  t.after(async () => {
    await cluster.close();
    await fixture.stop();
  });
  return { cluster, url: fixture.url };
}

async function openFile(t: TestContext): Promise<TorusFile> {
  const { cluster } = await open(t);
  return cluster.openFile("testvol/file", { create: true });
}

async function text(file: TorusFile, offset: number, length: number): Promise<string> {
  return Buffer.from(await file.readAt(offset, length)).toString();
}

test("TestReadAt: what was written is read at an offset, before and after it is synced", async (t) => {
  const file = await openFile(t);
  await file.writeAt(0, Buffer.from("hello, world\n"));
  assert.equal(await text(file, 7, 5), "world");
  await file.sync();
  assert.equal(await text(file, 7, 5), "world");
});

test("TestReadAtOffset: reading at one offset does not change what is read at another", async (t) => {
  const file = await openFile(t);
  await file.writeAt(0, Buffer.from("hello, world\n"));
  assert.equal(await text(file, 7, 5), "world");
  assert.equal(await text(file, 0, 5), "hello");
});

test("TestWriteAt: bytes in the middle are written over, and the length stays", async (t) => {
  const file = await openFile(t);
  await file.writeAt(0, Buffer.from("hello, world\n"));
  await file.writeAt(7, Buffer.from("WORLD"));
  assert.equal(await text(file, 0, 100), "hello, WORLD\n");
  assert.equal(file.length, 13);
});

test("TestWriteAtBulk: random bytes with odd edges over many pages, after a sync", async (t) => {
  const file = await openFile(t);
  await file.writeAt(0, Buffer.from("hello, world\n"));
  await file.sync();
  for (const length of [549, 3 * 4096 + 549]) {
    const bytes = randomBytes(length);
    await file.writeAt(7, bytes);
    assert.ok(bytes.equals(Buffer.from(await file.readAt(7, length))));
    assert.equal(await text(file, 0, 7), "hello, ");
  }
});

test("TestLoadAndDump: what one client wrote, synced and closed, a fresh one reads", async (t) => {
  const { cluster, url } = await open(t);
  const bytes = randomBytes(100 * 4096 + 17);
  const file = await cluster.openFile("testvol/load", { create: true });
  await file.writeAt(0, bytes);
  await file.sync();
  await assert.rejects(
    connect(url).then((other) => other.openFile("testvol/none").finally(() => other.close())),
    /there is no volume named/,
  );
  await file.close();
  const other = await connect(url);
  const again = await other.openFile("testvol/load");
  assert.equal(again.length, bytes.length);
  assert.ok(bytes.equals(Buffer.from(await again.readAt(0, bytes.length))));
  await other.close();
});

test("TestRewrite: many rewrites, each synced, end as the last of each", async (t) => {
  const file = await openFile(t);
  const expected = Buffer.alloc(200);
  for (let i = 0; i < 101; i++) {
    const bytes = randomBytes(100);
    bytes.copy(expected, i % 100);
    await file.writeAt(i % 100, bytes);
    await file.sync();
  }
  assert.ok(expected.subarray(0, file.length).equals(Buffer.from(await file.readAt(0, 200))));
  assert.equal(file.length, 199);
});

test("many files in a set: made with a size, listed, kept as snapshots, deleted", async (t) => {
  const { cluster } = await open(t);
  for (const name of ["a", "b"])
    await (await cluster.openFile(`set/${name}`, { create: true, size: 10_000 })).close();
  await (await cluster.openFile("other", { create: true })).close();
  const names = async (set?: string) => (await cluster.listFiles(set)).map(({ spec }) => spec.name);
  assert.deepEqual(await names("set"), ["set/a", "set/b"]);
  assert.deepEqual(await names(), ["other", "set/a", "set/b"]);
  const file = await cluster.openFile("set/a", { create: true, size: 5 });
  assert.equal(file.length, 10_000, "it was there");
  await assert.rejects(cluster.deleteFile("set/a"), /is attached/);
  await file.close();
  await cluster.createVolume("disk", { sizeBytes: 2 ** 20 });
  assert.deepEqual(
    (await cluster.listVolumes()).map(({ spec }) => spec.name),
    ["disk"],
  );
  await assert.rejects(cluster.deleteFile("disk"), /is a block volume/);
  await assert.rejects(cluster.openFile("a/b/c", { create: true }), /has a "\/" in it/);
  assert.equal((await cluster.takeSnapshot("set/a", "s1")).name, "s1");
  await cluster.deleteSnapshot("set/a", "s1");
  for (const name of ["set/a", "set/b", "other"]) await cluster.deleteFile(name);
  await cluster.deleteVolume("disk");
  assert.deepEqual(await names(), []);
});

test("the example of the documentation runs as it is", async (t) => {
  const { url } = await open(t);
  const printed = await run(process.execPath, [join(root, "examples/files.ts"), url]);
  assert.equal(
    printed,
    "13 bytes: hello, WORLD\n5 bytes: hello\nexamples/hello takes 8192 bytes on each replica\n",
  );
});
