// The real Disk in a temporary directory: direct and buffered I/O see the same bytes, memory is aligned, small files are
// replaced whole, a directory is locked once among threads and processes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import type { Log } from "#host";
import { crc32, isTorusError, pageBytes } from "#model";
import { openDisk } from "./disk.ts";

function keptLog(lines: string[] = []): Log {
  const keep = (message: string): void => void lines.push(message);
  const log: Log = { debug: keep, info: keep, warn: keep, error: keep, child: () => log };
  return log;
}

function directoryFor(context: TestContext, parent = tmpdir()): string {
  const directory = mkdtempSync(join(parent, "torus-disk-"));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("what is written past the page cache is read both ways; zeroes grow the file", async (context) => {
  const disk = openDisk(join(directoryFor(context), "new"), { log: keptLog() });
  const file = disk.openFile("data", { create: true });
  await file.zeroFill(0, 3 * 2 ** 20 + pageBytes);
  assert.equal(file.sizeBytes(), 3 * 2 ** 20 + pageBytes);
  const page = disk.allocateAligned(2 * pageBytes);
  assert.equal(page.byteOffset % pageBytes, 0);
  assert.ok(page.every((byte) => byte === 0));
  for (let i = 0; i < page.length; i++) page[i] = (i * 7 + (i >> 8)) & 255;
  file.writeSync(page, pageBytes);
  await Promise.all([file.dataSync(), file.dataSync()]);
  const buffered = new Uint8Array(2 * pageBytes - 100);
  file.readSync(buffered, pageBytes + 50);
  assert.deepEqual(Buffer.from(buffered), Buffer.from(page.subarray(50, 2 * pageBytes - 50)));
  const direct = disk.allocateAligned(2 * pageBytes);
  file.readDirectSync(direct, pageBytes);
  assert.equal(crc32(direct), crc32(page));
  file.writeSync(disk.allocateAligned(pageBytes), pageBytes);
  file.readSync(buffered.subarray(0, 10), pageBytes);
  assert.equal(buffered[5], 0, "buffered reads see later direct writes");
  assert.throws(
    () => file.readSync(buffered, 3 * 2 ** 20),
    (error) => isTorusError(error, "io"),
  );
  assert.throws(() => file.writeSync(page.subarray(0, 100), 0), /whole pages/);
  assert.throws(() => file.writeSync(new Uint8Array(2 * pageBytes).subarray(1, pageBytes + 1), 0), /aligned/);
  file.close();
  disk.close();
});

test("a file may be closed while an fdatasync is under way", async (context) => {
  const disk = openDisk(directoryFor(context), { log: keptLog() });
  const file = disk.openFile("data", { create: true });
  file.writeSync(disk.allocateAligned(pageBytes), 0);
  const flushed = file.dataSync();
  file.close();
  await flushed;
  disk.close();
});

test("small files, names and space", (context) => {
  const directory = directoryFor(context);
  const disk = openDisk(directory, { log: keptLog() });
  assert.equal(disk.readText("identity.json"), null);
  disk.writeTextDurably("identity.json", "one");
  disk.writeTextDurably("identity.json", "two");
  assert.equal(disk.readText("identity.json"), "two");
  assert.deepEqual(disk.names(), ["identity.json"]);
  assert.ok(disk.exists("identity.json") && !disk.exists("other"));
  const { totalBytes, freeBytes } = disk.space();
  assert.ok(totalBytes >= freeBytes && freeBytes > 0);
  assert.throws(
    () => disk.openFile("missing", { create: false }),
    (error) => isTorusError(error, "io"),
  );
  disk.close();
});

test("a directory is made private; a file in its place is an error that names it", (context) => {
  const directory = directoryFor(context);
  openDisk(join(directory, "a", "b"), { log: keptLog() }).close();
  assert.equal(statSync(join(directory, "a", "b")).mode & 0o777, 0o700);
  writeFileSync(join(directory, "file"), "");
  assert.throws(
    () => openDisk(join(directory, "file"), { log: keptLog() }),
    (error) => isTorusError(error, "io") && error.message.includes(join(directory, "file")),
  );
});

test("a file system without direct I/O is used all the same, and the log says so", async (context) => {
  if (!existsSync("/dev/shm")) return context.skip("there is no tmpfs here");
  const lines: string[] = [];
  const disk = openDisk(directoryFor(context, "/dev/shm"), { log: keptLog(lines) });
  const file = disk.openFile("data", { create: true });
  const page = disk.allocateAligned(pageBytes).fill(9);
  file.writeSync(page, 0);
  await file.dataSync();
  const back = disk.allocateAligned(pageBytes);
  file.readDirectSync(back, 0);
  assert.deepEqual(Buffer.from(back), Buffer.from(page));
  assert.ok(lines.length <= 1);
  file.close();
  disk.close();
});

const locking = (directory: string): string => `
  import { lockDirectory } from ${JSON.stringify(join(import.meta.dirname, "file-lock.ts"))};
  try { lockDirectory(${JSON.stringify(directory)}); console.log("locked"); } catch (error) { console.log(error.code, error.message); }
  setInterval(() => {}, 1000);
`;

test("a lock holds among disks, threads and processes, and ends with its holder", async (context) => {
  const directory = directoryFor(context);
  const disk = openDisk(directory, { log: keptLog() });
  disk.lock();
  disk.lock();
  const second = openDisk(directory, { log: keptLog() });
  assert.throws(
    () => second.lock(),
    (error) => isTorusError(error, "busy") && error.message.includes(`process ${process.pid}`),
  );
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(threadProgram(directory))}`));
  const [heard] = await once(worker, "message");
  assert.match(String(heard), /^busy/);
  await worker.terminate();
  disk.close();
  const child = spawn(process.execPath, ["--input-type=module", "-e", locking(directory)], {
    cwd: import.meta.dirname,
  });
  const [said] = await once(child.stdout, "data");
  assert.match(String(said), /^locked/);
  assert.throws(
    () => second.lock(),
    (error) => isTorusError(error, "busy") && error.message.includes(`process ${child.pid}`),
  );
  child.kill("SIGKILL");
  await once(child, "close");
  second.lock();
  second.close();
});

function threadProgram(directory: string): string {
  return `
    import { parentPort } from "node:worker_threads";
    const { lockDirectory } = await import(${JSON.stringify(new URL("./file-lock.ts", import.meta.url).href)});
    try { lockDirectory(${JSON.stringify(directory)}); parentPort.postMessage("locked"); }
    catch (error) { parentPort.postMessage(error.code + " " + error.message); }
  `;
}
