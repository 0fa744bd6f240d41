// Daemons with a small --memory under loads of all kinds: clients wait, and no process takes more than it may.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Daemons, uriOf } from "./daemons.ts";
import { Fio } from "./fio.ts";
import type { Program } from "./programs.ts";
import { tryRun } from "./programs.ts";

const mebibyte = 2 ** 20;
const peerBytesMax = 192 * mebibyte;
/** Enough for three volumes. */
const serverBytesMax = 416 * mebibyte;
/** What the ceiling may be missed by. */
const missedShare = 0.05;
const volumes = ["a", "b", "c"];
const fioMsMax = 60_000;

const jobs: readonly (readonly string[])[] = [
  ["--rw=write", "--bs=1m", "--iodepth=16"],
  ["--rw=randrw", "--rwmixread=50", "--bsrange=4k-256k", "--iodepth=32"],
  ["--rw=read", "--bs=4m", "--iodepth=16"],
  ["--rw=randwrite", "--bs=16m", "--iodepth=8"],
];

/** The most that a process ever took. */
function mostBytes({ pid }: Program): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
}

test("no daemon takes more than --memory, whatever clients do at once", async (t) => {
  const daemons = await Daemons.start(t, { peerFlags: ["--memory", `${peerBytesMax / mebibyte}MiB`] });
  for (const volume of volumes) {
    await daemons.torusctl("volume", "create-block", volume, "256MiB");
    mkdirSync(join(daemons.directory, volume));
  }
  const server = await daemons.startServer(volumes, ["--memory", `${serverBytesMax / mebibyte}MiB`]);
  for (const flags of jobs) {
    await Promise.all(
      volumes.map((volume) =>
        new Fio(join(daemons.directory, volume), uriOf(server, volume), [
          ...["--size=256m", "--time_based", "--runtime=3", "--norandommap"],
          ...flags,
        ]).end(fioMsMax),
      ),
    );
  }
  const processes = [
    { name: "torusblk", program: server.program, bytesMax: serverBytesMax },
    ...[...daemons.peers].map(([number, { program }]) => ({
      name: `torusd ${number}`,
      program,
      bytesMax: peerBytesMax,
    })),
  ];
  for (const { name, program, bytesMax } of processes) {
    const [most, allowed] = [mostBytes(program), bytesMax * (1 + missedShare)];
    t.diagnostic(`${name} took ${Math.round(most / mebibyte)} MiB at most, of ${bytesMax / mebibyte}`);
    assert.ok(most <= allowed, `${name} took ${most} bytes of ${allowed}`);
  }
  await daemons.torusctl("volume", "create-block", "another", "256MiB");
  const refused = await tryRun("qemu-img", ["info", uriOf(server, "another")]);
  assert.match(refused.stderr, /enough for 3 volumes at once/);
  await daemons.stopAll();
});
