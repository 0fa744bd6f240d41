// What has content and what changed, told to the programs people copy with: nbdinfo and qemu-img say of a volume, its snapshots and through nbdkit
// what was written; increments by the documented script make a backup that is the volume; nbdcopy works over several connections.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons } from "./daemons.ts";
import { digestOf } from "./images.ts";
import { Program, root, run, waitFor } from "./programs.ts";
import { dice, seed } from "./scale.ts";

const MiB = 2 ** 20;
const pageBytes = 4096;
const volumeBytes = 64 * MiB;
const pages = volumeBytes / pageBytes;
const roll = dice(seed);

/** A run of bytes and whether it is what was asked for. */
type Run = readonly [length: number, is: boolean];

/** Neighbours that are alike as one. */
function merged(runs: readonly Run[]): Run[] {
  const found: [number, boolean][] = [];
  for (const [length, is] of runs) {
    const last = found.at(-1);
    if (last?.[1] === is) last[0] += length;
    else found.push([length, is]);
  }
  return found;
}

function runsOf(set: ReadonlySet<number>): Run[] {
  return merged(Array.from({ length: pages }, (_, page) => [pageBytes, set.has(page)]));
}

function pagesOf(runs: readonly Run[]): Set<number> {
  const found = new Set<number>();
  let page = 0;
  for (const [length, is] of runs) {
    const end = page + length / pageBytes;
    for (; page < end; page++) if (is) found.add(page);
  }
  assert.equal(page, pages, "all of it is told");
  return found;
}

/** Writes, discards and zeroes random ranges by qemu-io; `full` and `touched` follow. */
async function work(uri: string, full: Set<number>, touched: Set<number>, steps: number): Promise<void> {
  const commands: string[] = [];
  for (let step = 0; step < steps; step++) {
    const first = roll(pages);
    const count = Math.min(pages - first, 1 + roll(step % 9 === 0 ? 600 : 20));
    const kind = roll(5);
    const range = `${first * pageBytes} ${count * pageBytes}`;
    if (kind === 0) commands.push(`discard ${range}`);
    else if (kind === 1) commands.push(`write -z -u ${range}`);
    else commands.push(`write -P ${1 + roll(255)} ${range}`);
    for (let page = first; page < first + count; page++) {
      touched.add(page);
      if (kind > 1) full.add(page);
      else full.delete(page);
    }
  }
  const output = await run("qemu-io", [
    ...["-f", "raw", "-d", "unmap", ...[...commands, "flush"].flatMap((line) => ["-c", line])],
    uri,
  ]);
  assert.doesNotMatch(output, /failed|error/i);
}

async function nbdinfoMap(uri: string, context = "base:allocation"): Promise<Run[]> {
  const extents = JSON.parse(await run("nbdinfo", [`--map=${context}`, "--json", uri]));
  const is = context === "base:allocation" ? 0 : 1;
  return merged(extents.map(({ length, type }: { length: number; type: number }) => [length, type === is]));
}

async function qemuMap(image: readonly string[]): Promise<Run[]> {
  const extents = JSON.parse(await run("qemu-img", ["map", "--output=json", ...image]));
  return merged(extents.map(({ length, data }: { length: number; data: boolean }) => [length, data]));
}

/** The script of the documentation, for this server and this file. */
function documentedScript(port: number, image: string): string {
  const text = readFileSync(join(root, "docs/operate/nbd.md"), "utf8");
  const script = /<<'END'\n((?: {4}.*\n)+?) {4}END\n/.exec(text);
  assert.ok(script !== null, "the documentation has the script");
  const lines = script[1].replace(/^ {4}/gm, "");
  assert.ok(lines.includes("127.0.0.1:10809") && lines.includes('"backup.img"'));
  return lines.replace("127.0.0.1:10809", `127.0.0.1:${port}`).replace('"backup.img"', JSON.stringify(image));
}

async function throughNbdkit(daemons: Daemons, { port }: Server, full: ReadonlySet<number>): Promise<void> {
  const socket = join(daemons.directory, "nbdkit.sock");
  const nbdkit = new Program("nbdkit", ["-f", "-U", socket, "nbd", `uri=nbd://127.0.0.1:${port}/vol`]);
  try {
    const uri = `nbd+unix:///?socket=${socket}`;
    await waitFor("nbdkit to serve", () => run("nbdinfo", ["--size", uri]));
    assert.deepEqual(await nbdinfoMap(uri), runsOf(full), "through nbdkit");
  } finally {
    nbdkit.killGroup();
  }
}

test(`maps are what was written, and increments make the volume (seed ${seed})`, async (t) => {
  const daemons = await Daemons.start(t, { blockSize: "1MiB" });
  await daemons.torusctl("volume", "create-block", "vol", `${volumeBytes / MiB}MiB`);
  const server = await daemons.startServer(["vol"]);
  const uri = (name: string) => `nbd://127.0.0.1:${server.port}/${name}`;
  const full = new Set<number>();
  for (let round = 0; round < 3; round++) {
    await work(uri("vol"), full, new Set(), 40);
    assert.deepEqual(await nbdinfoMap(uri("vol")), runsOf(full), "nbdinfo --map");
    assert.deepEqual(await qemuMap(["-f", "raw", uri("vol")]), runsOf(full), "qemu-img map");
  }
  await throughNbdkit(daemons, server, full);

  await daemons.torusctl("volume", "snapshot", "create", "vol@monday");
  const backup = join(daemons.directory, "backup.img");
  await run("nbdcopy", ["--connections=4", uri("vol@monday"), backup]);
  const onMonday = runsOf(full);
  const touched = new Set<number>();
  await work(uri("vol"), full, touched, 25);
  await daemons.torusctl("volume", "snapshot", "create", "vol@tuesday");
  assert.deepEqual(await nbdinfoMap(uri("vol@monday")), onMonday);
  assert.deepEqual(await nbdinfoMap(uri("vol@tuesday")), runsOf(full));

  const context = "qemu:dirty-bitmap:monday";
  const dirty = pagesOf(await nbdinfoMap(uri("vol@tuesday"), context));
  const holes = new Set([...touched].filter((page) => !dirty.has(page)));
  const wasFull = pagesOf(onMonday);
  for (const page of holes)
    assert.ok(!wasFull.has(page) && !full.has(page), `page ${page} changed and is not dirty`);
  assert.ok(dirty.size < pages / 2, "and little else is");
  // qemu has a bitmap for what it is not: dirty is told as no data.
  const image = `driver=nbd,host=127.0.0.1,port=${server.port},export=vol@tuesday,x-dirty-bitmap=${context}`;
  const clean = await qemuMap(["--image-opts", image]);
  assert.deepEqual(pagesOf(clean.map(([length, data]) => [length, !data])), dirty);

  // The system's own Python has the module, another that stands before it on the PATH does not.
  await run("env", ["PATH=/usr/bin:/bin", "nbdsh", "-c", documentedScript(server.port, backup)]);
  const whole = join(daemons.directory, "whole.img");
  await run("nbdcopy", ["--connections=4", uri("vol@tuesday"), whole]);
  assert.equal(await digestOf(backup, volumeBytes), await digestOf(whole, volumeBytes));

  await daemons.torusctl("volume", "create-block", "back", `${volumeBytes / MiB}MiB`);
  await run("nbdcopy", ["--connections=4", "--flush", backup, uri("back")]);
  assert.match(
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", backup, uri("back")]),
    /identical/,
  );
});
