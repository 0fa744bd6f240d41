// `npm run up` as a person uses it: from nothing to a volume that every NBD client can use, stopped, started again,
// with its processes killed, and with wrong input.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { Cluster, launchUp } from "./cluster.ts";
import { digestOf, writeRandomImage } from "./images.ts";
import { freePort, processesNaming, run, scratchDirectory, torus, tryRun, waitFor } from "./programs.ts";

const MiB = 2 ** 20;
const imageBytes = 512 * MiB;
const copyMsMax = 180_000;

async function qemuIo(uri: string, ...commands: string[]): Promise<void> {
  const output = await run("qemu-io", ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), uri]);
  assert.doesNotMatch(output, /Pattern verification failed|error/i);
}

async function checkInfo(cluster: Cluster): Promise<void> {
  for (const uri of [cluster.uri, cluster.unixUri]) {
    const info = JSON.parse(await run("nbdinfo", ["--json", uri]));
    const { is_read_only, can_flush, can_fua, can_trim, ...rest } = info.exports[0];
    assert.equal(rest["export-size"], 1024 * MiB);
    assert.deepEqual([is_read_only, can_flush, can_fua, can_trim], [false, true, true, true]);
  }
}

/** Copies the volume out and compares what was copied in. */
async function checkCopy(uri: string, image: string): Promise<void> {
  const back = `${image}.back`;
  await run("nbdcopy", [uri, back], copyMsMax);
  assert.equal(await digestOf(back, imageBytes), await digestOf(image, imageBytes));
  rmSync(back);
}

async function checkQemuImg(uri: string, image: string): Promise<void> {
  const info = JSON.parse(await run("qemu-img", ["info", "--output=json", uri]));
  assert.equal(info["virtual-size"], 1024 * MiB);
  // Also says that all beyond the image is zero.
  await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", image, uri], copyMsMax);
  const converted = `${image}.qcow2`;
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", uri, converted], copyMsMax);
  await run("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", uri, converted], copyMsMax);
  rmSync(converted);
}

async function checkPatterns(uri: string): Promise<void> {
  await qemuIo(uri, "write -P 0xab 600M 1M", "flush", "read -P 0xab 600M 1M");
  await qemuIo(
    uri,
    "write -P 0x11 629145700 1000",
    "read -P 0x11 629145700 1000",
    "read -P 0xab 629146700 500",
  );
  await qemuIo(
    uri,
    "write -z 601M 64k",
    "read -P 0 601M 64k",
    "write -f -P 0x22 601M 4k",
    "read -P 0x22 601M 4k",
  );
  await qemuIo(uri, "write -P 0x33 602M 128k", "discard 602M 128k", "read -P 0 602M 128k");
  await qemuIo(uri, "write -P 0x44 700M 8k", "flush");
}

test("from nothing: copies, comparisons, patterns, and all of it again after a stop", async (t) => {
  const cluster = await Cluster.start(t);
  const image = join(scratchDirectory(t), "in.img");
  writeRandomImage(image, imageBytes);

  await t.test("nbdinfo sees the volume on both addresses", () => checkInfo(cluster));
  await t.test("512 MiB of random bytes come back as they went in", async () => {
    await run("nbdcopy", ["--flush", image, cluster.unixUri], copyMsMax);
    await checkCopy(cluster.uri, image);
  });
  await t.test("qemu-img reads, compares and converts it", () => checkQemuImg(cluster.uri, image));
  await t.test("qemu-io patterns: writes, partial pages, zeroes, discards, FUA", () =>
    checkPatterns(cluster.uri),
  );
  await t.test("after Ctrl-C nothing runs, and the next start finds everything", async () => {
    const { code, stdout } = await cluster.stop("SIGINT");
    assert.equal(code, 0, stdout);
    assert.deepEqual(cluster.processes(), []);
    const output = await cluster.start(["--size", "2GiB"]);
    assert.match(output, /Volume demo exists with 1\.0 GiB and keeps that size/);
    await checkCopy(cluster.uri, image);
    await qemuIo(cluster.uri, "read -P 0x44 700M 8k", "read -P 0x22 601M 4k", "read -P 0 602M 128k");
    assert.equal((await cluster.stop("SIGTERM")).code, 0);
  });
});

test("daemons that die are started again, and what was flushed is there", async (t) => {
  const cluster = await Cluster.start(t);
  await qemuIo(cluster.uri, "write -P 0x51 0 1M", "flush");
  const peer = cluster.peerPid(2);
  process.kill(peer, "SIGKILL");
  await waitFor("peer-2 to be back", () => cluster.output.includes("peer-2 is back"));
  assert.notEqual(cluster.peerPid(2), peer);
  await qemuIo(cluster.uri, "read -P 0x51 0 1M", "write -P 0x52 1M 1M", "flush");
  process.kill(cluster.serverPid, "SIGKILL");
  await waitFor("torusblk to be back", () => cluster.output.includes("torusblk is back"), 60_000);
  await waitFor("the volume", async () => (await tryRun("nbdinfo", [cluster.uri], 5_000)).code === 0);
  await qemuIo(cluster.uri, "read -P 0x51 0 1M", "read -P 0x52 1M 1M");
  assert.match(cluster.output, /peer-2 was ended by SIGKILL; starting it again in 1 s/);
});

test("when up itself is killed its daemons go too, and the next start recovers what was flushed", async (t) => {
  const cluster = await Cluster.start(t);
  await qemuIo(cluster.uri, "write -P 0x61 5M 300k", "flush");
  process.kill(cluster.upPid, "SIGKILL");
  await waitFor("its daemons to end", () => cluster.processes().length === 0);
  await cluster.start();
  await qemuIo(cluster.uri, "read -P 0x61 5M 300k", "write -P 0x62 6M 300k", "flush");
  await cluster.killAll();
  const output = await cluster.start();
  // Clients that could have come back are shut out, and the user is told what to type.
  await assert.rejects(run("qemu-img", ["info", cluster.uri]), /torusctl volume accept-loss demo/);
  const command = /^ {2}npm run torusctl -- (.* accept-loss demo)$/m.exec(output) ?? assert.fail(output);
  const outcome = await torus("torusctl", command[1].split(" ")).end();
  assert.equal(outcome.code, 0, outcome.stderr);
  await qemuIo(cluster.uri, "read -P 0x61 5M 300k", "read -P 0x62 6M 300k");
});

test("a data directory too deep for a socket gets one under /tmp", async (t) => {
  const data = join(scratchDirectory(t), "d".repeat(60), "e".repeat(60));
  const cluster = await Cluster.start(t, { data, flags: ["--size", "64MiB", "--peers", "1"] });
  assert.match(cluster.unixUri, /socket=\/tmp\/torus-[0-9a-f]{12}\/nbd\.sock$/);
  await run("nbdinfo", [cluster.unixUri]);
  const socket = new URL(cluster.unixUri).searchParams.get("socket")!;
  assert.equal((await cluster.stop()).code, 0);
  assert.equal(existsSync(dirname(socket)), false);
});

/** Runs `up` with input it must refuse: one line, no exit code 0, nothing left running. */
async function refused(data: string, flags: readonly string[], message: RegExp): Promise<void> {
  const { code, stdout, stderr } = await launchUp(["--data", data, ...flags]).end(30_000);
  assert.notEqual(code, 0, stdout);
  assert.match(stderr, message);
  assert.equal(stderr.trim().split("\n").length, 1, stderr);
}

test("wrong input is refused in one line, and nothing is left running", async (t) => {
  const directory = scratchDirectory(t);
  const data = join(directory, "data");
  const port = String(await freePort());
  await refused(data, ["--size", "tomorrow"], /size "tomorrow" is not a size/);
  await refused(data, ["--size", "1000"], /multiple of 4\.0 KiB/);
  await refused(data, ["--size", "0"], /not a size/);
  await refused(data, ["--peers", "0"], /1 to 16/);
  await refused(data, ["--peers", "many"], /1 to 16/);
  await refused(data, ["--listen", "70000"], /0 to 65535/);
  await refused(data, ["--volume", "a/b"], /volume name "a\/b"/);
  await refused(data, ["--peer-size", "130%"], /1 to 100/);
  await refused(data, ["--surprise"], /unknown option '--surprise'/);
  await refused("/proc/nowhere", ["--listen", port], /cannot use \/proc\/nowhere/);
  const file = join(directory, "file");
  writeFileSync(file, "");
  await refused(file, ["--listen", port], /cannot use .*file/);
  const foreign = join(directory, "foreign");
  mkdirSync(foreign);
  writeFileSync(join(foreign, "letter.txt"), "");
  await refused(foreign, ["--listen", port], /holds letter\.txt and was not made by torus up/);
  assert.deepEqual(processesNaming(directory), []);
});

test("a port in use, a directory in use and fewer peers than before are refused", async (t) => {
  const cluster = await Cluster.start(t, { flags: ["--size", "64MiB", "--peers", "2"] });
  const server = createServer().listen(0, "127.0.0.1");
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await refused(
    join(scratchDirectory(t), "data"),
    ["--listen", String(port)],
    new RegExp(`port ${port} .* is in use`),
  );
  await refused(cluster.data, ["--listen", String(await freePort())], /is in use by process \d+/);
  await cluster.stop();
  await refused(
    cluster.data,
    ["--listen", String(cluster.port), "--peers", "1"],
    /start it with --peers 2 or more/,
  );
  assert.deepEqual(cluster.processes(), []);
});
