// The NBD server with the clients people have (libnbd, qemu, fio, a file system through FUSE), over devices in
// memory. What is wrong here is the gateway, not the storage.

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { DeviceExports, NbdServer } from "#gateway/nbd";
import { Metrics } from "#host";
import { createLog, rereading, systemClock } from "#host/node";
import { TorusError } from "#model";
import { MemoryDevice } from "#volume";

const commandMsMax = 60_000;
const mebibyte = 1024 * 1024;

const directory = mkdtempSync(join(tmpdir(), "torus-nbd-system-"));
const socketPath = join(directory, "nbd.sock");
const first = new MemoryDevice({ name: "first", sizeBytes: 64 * mebibyte, description: "in memory" });
const second = new MemoryDevice({ name: "second", sizeBytes: 64 * mebibyte + 512 });
const fixed = new MemoryDevice({ name: "fixed", sizeBytes: mebibyte, readOnly: true });
const broken = new MemoryDevice({ name: "broken", sizeBytes: mebibyte });
const metrics = new Metrics();
const server = new NbdServer(
  {
    listen: [
      { kind: "unix", path: socketPath },
      { kind: "tcp", host: "127.0.0.1", port: 0 },
    ],
  },
  {
    exports: new DeviceExports([first, second, fixed, broken]),
    clock: systemClock,
    log: createLog({ level: "silent", name: "test" }),
    metrics,
    reread: rereading,
  },
);

before(() => server.open());
after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

function unixUri(name: string): string {
  return `nbd+unix:///${name}?socket=${socketPath}`;
}

function tcpUri(name: string): string {
  const address = server.addresses[1];
  assert.ok(address.kind === "tcp");
  return `nbd://${address.host}:${address.port}/${name}`;
}

interface Outcome {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program to its end; both its outputs in one. */
async function outcome(program: string, ...args: string[]): Promise<Outcome> {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: commandMsMax,
    killSignal: "SIGKILL",
  });
  return { status: await exited(child), output: await textOf(child) };
}

async function run(program: string, ...args: string[]): Promise<string> {
  const { status, output } = await outcome(program, ...args);
  assert.equal(status, 0, `${program} ${args.join(" ")}\n${output}`);
  return output;
}

const texts = new WeakMap<ChildProcess, Promise<string>>();

function textOf(child: ChildProcess): Promise<string> {
  return texts.get(child) ?? Promise.resolve("");
}

function exited(child: ChildProcess): Promise<number | null> {
  const parts: Buffer[] = [];
  child.stdout?.on("data", (part: Buffer) => parts.push(part));
  child.stderr?.on("data", (part: Buffer) => parts.push(part));
  const status = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  texts.set(
    child,
    status.then(() => Buffer.concat(parts).toString()),
  );
  return status;
}

/** A file with data, zeroes and holes, not a multiple of anything. */
function makeImage(name: string, bytes: number): string {
  const image = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 3 * mebibyte)
    randomBytes(Math.min(mebibyte, bytes - at)).copy(image, at);
  const path = join(directory, name);
  writeFileSync(path, image);
  return path;
}

test("nbdinfo reads what is offered, and lists the exports", async () => {
  const info = JSON.parse(await run("nbdinfo", "--json", unixUri("first")));
  assert.equal(info.protocol, "newstyle-fixed");
  assert.equal(info.structured, true);
  const [offered] = info.exports;
  assert.deepEqual(
    {
      name: offered["export-name"],
      description: offered.description,
      size: offered["export-size"],
      flags: ["can_flush", "can_fua", "can_trim", "can_zero", "can_df", "can_cache", "can_multi_conn"].filter(
        (flag) => offered[flag] === true,
      ).length,
      readOnly: offered.is_read_only,
      blocks: [offered.block_size_minimum, offered.block_size_preferred, offered.block_size_maximum],
    },
    {
      name: "first",
      description: "in memory",
      size: 64 * mebibyte,
      flags: 7,
      readOnly: false,
      blocks: [1, 4096, 32 * mebibyte],
    },
  );
  const list = JSON.parse(await run("nbdinfo", "--json", "--list", tcpUri("")));
  const names = list.exports.map((entry: Record<string, unknown>) => entry["export-name"]);
  assert.deepEqual(names, ["first", "second", "fixed", "broken"]);
  const readOnly = JSON.parse(await run("nbdinfo", "--json", unixUri("fixed")));
  assert.equal(readOnly.exports[0].is_read_only, true);
});

test("an unknown export: the client is told what there is", async () => {
  const { status, output } = await outcome("qemu-img", "info", unixUri("nope"));
  assert.notEqual(status, 0);
  assert.match(output, /no export "nope" here; served: first, second/);
});

test("nbdcopy brings an image in and out again, over several connections", async () => {
  const image = makeImage("in.img", 64 * mebibyte + 512);
  for (const uri of [unixUri("second"), tcpUri("second")]) {
    await run("nbdcopy", "--connections=4", "--flush", image, uri);
    const back = join(directory, "out.img");
    await run("nbdcopy", "--connections=4", uri, back);
    assert.ok(readFileSync(back).equals(readFileSync(image)));
  }
  assert.ok(second.calls.flush > 0);
});

test("qemu-img converts into it and finds it equal", async () => {
  const image = makeImage("qemu.img", 64 * mebibyte);
  await run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", "-m", "8", image, unixUri("first"));
  const compared = await run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, unixUri("first"));
  assert.match(compared, /identical/);
  assert.match(await run("qemu-img", "info", tcpUri("first")), /64 MiB/);
});

test("qemu-io: patterns, odd alignments, zeroes, discards, FUA, many at once", async () => {
  const out = await run(
    "qemu-io",
    ...["-f", "raw", "-t", "none"],
    ...["-c", "write -P 0xaa 0 1M", "-c", "write -P 0xbb 4000 200", "-c", "write -P 0xcc 1048000 5000"],
    ...["-c", "read -P 0xaa 0 4000", "-c", "read -P 0xbb 4000 200", "-c", "read -P 0xaa 4200 1000000"],
    ...["-c", "read -P 0xcc 1048000 5000", "-c", "write -z 8192 65536", "-c", "read -P 0 8192 65536"],
    ...["-c", "write -f -P 0xdd 2M 64k", "-c", "read -P 0xdd 2M 64k", "-c", "write -z -u 3M 1M"],
    ...["-c", "discard 2M 64k", "-c", "read -P 0 2M 64k", "-c", "flush"],
    ...["-c", "aio_write -P 0x11 4M 4M", "-c", "aio_write -P 0x22 8M 4M", "-c", "aio_write -P 0x33 12M 16M"],
    ...[
      "-c",
      "aio_flush",
      "-c",
      "read -P 0x11 4M 4M",
      "-c",
      "read -P 0x22 8M 4M",
      "-c",
      "read -P 0x33 12M 16M",
    ],
    unixUri("first"),
  );
  assert.doesNotMatch(out, /failed|error/i);
  assert.ok(first.calls.fua > 0);
});

test("errors of the device arrive as what they are", async () => {
  const attempts = [
    [new TorusError("full", "the cluster is full"), /No space left on device/],
    [new TorusError("attachment-lost", "attach anew"), /Input\/output error/],
    [new TorusError("corrupt", "bytes do not match"), /Input\/output error/],
  ] as const;
  for (const [failure, message] of attempts) {
    broken.failure = failure;
    for (const request of ["write 0 4k", "read 0 4k"]) {
      const { output } = await outcome(
        "qemu-io",
        "-f",
        "raw",
        "-t",
        "none",
        "-c",
        request,
        unixUri("broken"),
      );
      assert.match(output, message, `${failure.code}: ${request}`);
    }
  }
  broken.failure = null;
  const refused = await outcome("qemu-io", "-f", "raw", "-c", "write 0 4k", unixUri("fixed"));
  assert.match(refused.output, /read-only|permission denied/i);
});

test("fio writes and verifies at random, with 32 requests in flight", async () => {
  for (const uri of [unixUri("first"), tcpUri("first")]) {
    const out = await run(
      "fio",
      ...[
        "--name=verify",
        "--ioengine=nbd",
        `--uri=${uri}`,
        "--rw=randrw",
        "--bsrange=512-64k",
        "--bs_unaligned=0",
      ],
      ...[
        "--iodepth=32",
        "--size=32m",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--do_verify=1",
        "--fsync=50",
        "--verify_state_save=0",
      ],
    );
    assert.match(out, /err= 0/);
  }
});

test("a client killed in the middle of its work costs its connection only", async () => {
  const child = spawn(
    "fio",
    [
      "--name=kill",
      "--ioengine=nbd",
      `--uri=${unixUri("first")}`,
      "--rw=randwrite",
      "--bs=4k",
      "--iodepth=32",
    ].concat(["--size=32m", "--time_based", "--runtime=30", "--thread"]),
    { stdio: "ignore", detached: true },
  );
  const done = exited(child);
  const writes = first.calls.write;
  for (let waited = 0; first.calls.write < writes + 100; waited += 1) {
    assert.ok(waited < 2000, "fio writes");
    await delay(5);
  }
  process.kill(-(child.pid as number), "SIGKILL");
  await done;
  for (let waited = 0; server.connectionCount > 0; waited += 1) {
    assert.ok(waited < 1000, "the connection ends");
    await delay(5);
  }
  await run("nbdinfo", unixUri("first"));
});

test("a file system through FUSE is made, filled and found clean", async () => {
  const mount = join(directory, "fuse");
  const content = join(directory, "content");
  mkdirSync(mount);
  mkdirSync(content);
  for (let index = 0; index < 20; index += 1) {
    writeFileSync(join(content, `file-${index}`), randomBytes(index * 40_001));
  }
  const fuse = spawn("nbdfuse", [mount, unixUri("first")], { stdio: ["ignore", "pipe", "pipe"] });
  const done = exited(fuse);
  try {
    const disk = join(mount, "nbd");
    for (let waited = 0; !(await readdir(mount)).includes("nbd"); waited += 1) {
      assert.ok(waited < 500 && fuse.exitCode === null, "nbdfuse starts");
      await delay(10);
    }
    assert.equal((await stat(disk)).size, 64 * mebibyte);
    await run("mkfs.ext4", "-q", "-F", "-d", content, disk);
    await run("e2fsck", "-f", "-n", disk);
  } finally {
    await outcome("fusermount3", "-u", mount);
    await done;
  }
  assert.equal(metrics.collect().find(({ name }) => name === "torus_nbd_garbage_total")?.value, 0);
});
