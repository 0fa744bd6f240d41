// Inside the guest: a cluster of one peer, and a volume of it as a device of the guest's kernel, while torusblk is killed, stopped and started,
// the volume gets another size, and is used elsewhere. Each step says what it saw; the last line says that all were seen.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { constants, readFileSync, writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { open, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Daemon, run, since, torusctl, waitFor } from "./guest-programs.ts";

const sectorBytes = 512;
const mib = 2 ** 20;
const blockBytes = 64 * 1024;

const say = (line: string): void => console.log(`GUEST: ${line}`);
const sizeOf = (device: string): number =>
  Number(readFileSync(`/sys/block/${device}/size`, "utf8")) * sectorBytes;
const sumOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const attach = (...args: string[]): Daemon => new Daemon("torusblk", "--lease", "2s", "nbd", "vol", ...args);

/** Memory for O_DIRECT. */
function aligned(bytes: number): Buffer {
  const memory = new ArrayBuffer(bytes, { maxByteLength: bytes });
  return Buffer.from(memory);
}

/** Writes block after block, each different, past the page cache, until told to end. Rejects with the first error. */
class Writer {
  readonly written: Buffer[] = [];
  longestMs = 0;
  readonly ended: Promise<void>;
  #over = false;

  constructor(file: FileHandle) {
    this.ended = this.#write(file);
    this.ended.catch(() => {});
  }

  async end(): Promise<void> {
    this.#over = true;
    await this.ended;
  }

  async #write(file: FileHandle): Promise<void> {
    while (!this.#over && this.written.length < 512) {
      const block = randomBytes(blockBytes);
      const began = performance.now();
      await file.write(block, 0, blockBytes, this.written.length * blockBytes);
      await file.datasync();
      this.longestMs = Math.max(this.longestMs, performance.now() - began);
      this.written.push(block);
      await sleep(20);
    }
  }
}

async function requireWritten(path: string, written: readonly Buffer[]): Promise<void> {
  execFileSync("blockdev", ["--flushbufs", path]);
  const file = await open(path, "r");
  for (const [index, block] of written.entries()) {
    const bytes = Buffer.alloc(blockBytes);
    await file.read(bytes, 0, blockBytes, index * blockBytes);
    assert.equal(sumOf(bytes), sumOf(block), `block ${index}`);
  }
  await file.close();
}

async function killedUnderWrites(): Promise<Daemon> {
  const first = attach();
  await first.says(/volume vol is \/dev\/nbd0; it stays/);
  assert.equal(sizeOf("nbd0"), 64 * mib);
  assert.match(readFileSync("/sys/block/nbd0/backend", "utf8"), /^torus:vol:/);
  const file = await open("/dev/nbd0", constants.O_RDWR);
  const writer = new Writer(file);
  await waitFor("blocks to be written", () => writer.written.length > 20);
  const before = writer.written.length;
  await first.stop("SIGKILL");
  await sleep(2000);
  const killed = writer.written.length;
  assert.ok(killed <= before + 10, "without torusblk nothing is answered");
  const next = attach();
  await next.says(/volume vol is \/dev\/nbd0 again/);
  await waitFor("writes to go on", () => writer.written.length > killed + 20);
  await writer.end();
  await file.close();
  await requireWritten("/dev/nbd0", writer.written);
  say(
    `killed and started: no error, ${writer.written.length} blocks as written; I/O stood still for ${(writer.longestMs / 1000).toFixed(1)} s`,
  );
  return next;
}

async function resized(): Promise<void> {
  const began = performance.now();
  await torusctl("volume", "resize", "vol", "96MiB");
  await waitFor("the kernel to have the new size", () => sizeOf("nbd0") === 96 * mib);
  say(`resized: the kernel had it ${since(began)} after the command was begun`);
}

async function stoppedWhileMounted(first: Daemon): Promise<Daemon> {
  await run("mke2fs", "-q", "-t", "ext4", "/dev/nbd0");
  await run("mount", "/dev/nbd0", "/mnt");
  const bytes = randomBytes(8 * mib);
  writeFileSync("/mnt/file", bytes);
  const refused = new Daemon("torusblk", "nbd", "--detach", "/dev/nbd0");
  assert.equal(await refused.ended, 1);
  assert.match(refused.output, /is mounted, or open in a program/);
  assert.equal(await first.stop("SIGTERM"), 0);
  assert.match(first.output, /\/dev\/nbd0 is in use and stays/);
  const reading = readFile("/mnt/other").catch((error: NodeJS.ErrnoException) => error.code);
  const next = attach();
  await next.says(/volume vol is \/dev\/nbd0 again/);
  assert.equal(await reading, "ENOENT", "what is asked of a device that nobody serves waits");
  writeFileSync("/proc/sys/vm/drop_caches", "3");
  assert.equal(sumOf(readFileSync("/mnt/file")), sumOf(bytes));
  writeFileSync("/mnt/other", bytes);
  await run("umount", "/mnt");
  say("stopped while mounted, and started: the file system goes on");
  return next;
}

async function detached(first: Daemon): Promise<void> {
  const detach = new Daemon("torusblk", "nbd", "--detach", "/dev/nbd0");
  assert.equal(await detach.ended, 0, detach.output);
  assert.equal(await first.ended, 0, first.output);
  assert.equal(sizeOf("nbd0"), 0);
  const next = attach();
  await next.says(/volume vol is \/dev\/nbd0; it stays/);
  assert.equal(await next.stop("SIGTERM"), 0, next.output);
  assert.equal(sizeOf("nbd0"), 0, "nobody used it");
  say("detached, by the command and by a stop");
}

/** [C2] What the kernel has in memory of it must not be mixed with what others made of the volume. */
async function usedElsewhere(): Promise<void> {
  const first = attach();
  await first.says(/volume vol is \/dev\/nbd0; it stays/);
  await run("mount", "/dev/nbd0", "/mnt");
  await first.stop("SIGKILL");
  await torusctl("volume", "snapshot", "create", "vol@elsewhere");
  const next = attach();
  await next.says(/\/dev\/nbd0 cannot go on: /);
  await next.says(/volume vol is \/dev\/nbd1; it stays/);
  writeFileSync("/proc/sys/vm/drop_caches", "3");
  assert.throws(() => readFileSync("/mnt/file"), { code: "EIO" });
  await run("umount", "/mnt");
  assert.equal(await next.stop("SIGTERM"), 0, next.output);
  say("used elsewhere meanwhile: the device of before gives errors, the volume another");
}

async function tooLate(): Promise<void> {
  const first = attach("--reconnect-timeout", "10s");
  const [device] = /\/dev\/nbd\d+/.exec(await first.says(/volume vol is \/dev\/nbd\d+; it stays/)) ?? [""];
  await first.stop("SIGKILL");
  await waitFor("the kernel to notice", () =>
    /Receive control failed|reset/.test(execFileSync("dmesg", { encoding: "utf8" })),
  );
  const began = performance.now();
  const file = await open(device, constants.O_RDONLY | constants.O_DIRECT);
  await assert.rejects(file.read(aligned(4096), 0, 4096, 32 * mib), { code: "EIO" });
  await file.close();
  say(`nobody came: a read failed after ${since(began)}`);
  const next = attach();
  await next.says(/volume vol is \/dev\/nbd\d+/);
  assert.equal(await next.stop("SIGTERM"), 0, next.output);
}

async function main(): Promise<void> {
  const began = performance.now();
  await torusctl("init", "--replication", "1");
  const peer = new Daemon(
    "torusd",
    "--data-dir",
    "/data/peer",
    "--peer-address",
    "127.0.0.1:0",
    "--auto-join",
  );
  await peer.says(/ready at/);
  await torusctl("volume", "create-block", "vol", "64MiB");
  say(`a cluster after ${since(began)}`);
  const again = await killedUnderWrites();
  await resized();
  await detached(await stoppedWhileMounted(again));
  await usedElsewhere();
  await tooLate();
  say(`all seen in ${since(began)}`);
  await peer.stop("SIGTERM");
}

await main().catch((error: unknown) => {
  say(`FAILED: ${(error as Error).stack}`);
  process.exitCode = 1;
});
