// Two torusblk on machines of their own, one volume with a file system on it. The first is cut off from the metadata service alone: it
// still reaches every peer. The second takes the volume, once the lease has run out or at once by force. Whatever the first
// ever said was synced is in the file system that the second sees, and that is clean.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inScope } from "../chaos/run-scope.ts";
import { Etcd } from "./etcd.ts";
import { requireMounts, VolumeDisk } from "./file-system-mount.ts";
import type { Machine } from "./machines.ts";
import { Lab } from "./machines.ts";
import { NbdClient } from "./nbd-client.ts";
import type { Scope } from "./programs.ts";
import { Program, root, run, torus, waitFor, waitForLine } from "./programs.ts";

const peers = 3;
const fileBytes = 16_384;
const filesBefore = 20;
const page = Buffer.alloc(4096, 1);
/** What the first one is asked after it was replaced. */
const askedMs = 1500;

interface Sides {
  readonly lab: Lab;
  readonly etcd: Machine;
  readonly firstMachine: Machine;
  /** Sockets of the servers: the second waits for leases, the third takes what it wants by force. */
  readonly first: string;
  readonly second: string;
  readonly third: string;
}

function launch(machine: Machine, name: string, args: readonly string[]): Program {
  return machine.launch(process.execPath, [join(root, "src/cmd", name, "main.ts"), ...args]);
}

async function start(scope: Scope): Promise<Sides> {
  const lab = await Lab.open(scope);
  const [etcdMachine, store, a, b] = ["etcd", "store", "host-a", "host-b"].map((name) =>
    lab.addMachine(name),
  );
  const etcd = await Etcd.start(scope, { places: [etcdMachine] });
  const url = etcd.url();
  const torusctl = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await torus("torusctl", ["-C", url, ...args]).end();
    assert.equal(code, 0, stderr);
  };
  await torusctl("init", "--block-size", "256KiB");
  const directories = Array.from({ length: peers }, (_, at) => [
    "--data-dir",
    join(lab.directory, `peer-${at}`),
  ]);
  const peerFlags = ["--peer-address", `${store.address}:4321`, "--size", "4GiB", "--auto-join"];
  const daemon = launch(store, "torusd", ["-C", url, ...peerFlags, ...directories.flat()]);
  await waitForLine(daemon, /^torusd: peer \S+ ready/m);
  for (const volume of ["waited", "forced"]) await torusctl("volume", "create-block", volume, "64MiB");
  const serve = async (machine: Machine, name: string, flags: readonly string[] = []): Promise<string> => {
    const socket = join(lab.directory, `${name}.sock`);
    const args = ["-C", url, "--lease", "2s", ...flags, "nbdserve", "--unix", socket];
    await waitForLine(launch(machine, "torusblk", args), /^torusblk: serving /m);
    return socket;
  };
  const [first, second, third] = await Promise.all([
    serve(a, "first"),
    serve(b, "second"),
    serve(b, "third", ["--force"]),
  ]);
  return { lab, etcd: etcdMachine, firstMachine: a, first, second, third };
}

/** Writes a file after the other, each synced, and names it once it is; ends when one cannot be. */
function writeFiles(directory: string): Program {
  const step = `yes "file $i" | dd of="$0/f$i" bs=4k count=${fileBytes / 4096} iflag=fullblock conv=fsync status=none`;
  return new Program("sh", [
    "-c",
    `i=0; while ${step} 2>/dev/null && [ "$(stat -c %s "$0/f$i")" = ${fileBytes} ]; do echo "f$i"; i=$((i+1)); sleep 0.02; done`,
    directory,
  ]);
}

const filesOf = ({ output }: Program): string[] => output.split("\n").slice(0, -1);

/** Asks the first, which was replaced, to write and to flush that; resolves with what it answered OK. */
async function askReplaced(client: NbdClient): Promise<string[]> {
  const ok: string[] = [];
  const endMs = performance.now() + askedMs;
  while (performance.now() < endMs && client.ended === null) {
    // In the file system's journal or tables: it would be missed if it came there.
    client.write(4096 * 1024, page).then(
      () => void ok.push("write"),
      () => {},
    );
    await sleep(50);
  }
  return ok;
}

/** The file system of a volume as the one sees it that took it: its journal replayed, clean, with these files. */
async function requireFiles(
  scope: Scope,
  directory: string,
  uri: string,
  names: readonly string[],
): Promise<void> {
  const copy = join(directory, "copy.img");
  const mounted = join(directory, "copy");
  await run("nbdcopy", [uri, copy]);
  await run("mkdir", [mounted]);
  await run("mount", ["-o", "loop", copy, mounted]);
  scope.after(async () => void (await new Program("umount", ["-l", mounted]).end()));
  for (const name of names) {
    const expected = `file ${name.slice(1)}\n`;
    const text = readFileSync(join(mounted, name), "latin1");
    assert.equal(text, expected.repeat(Math.ceil(fileBytes / expected.length)).slice(0, fileBytes), name);
  }
  const there = readdirSync(mounted).length;
  assert.ok(
    there <= names.length + 2,
    `${there} files, of which ${names.length} were synced, one is new and one is lost+found`,
  );
  await run("umount", [mounted]);
  await run("e2fsck", ["-f", "-n", copy]);
}

/** Where one volume is used at the first server, cut off, and taken by another. */
async function cutOffAndTaken(scope: Scope, sides: Sides, volume: string, taker: string) {
  const { lab, first, firstMachine, etcd } = sides;
  const uri = (socket: string): string => `nbd+unix:///${volume}?socket=${socket}`;
  const open = (path: string) => NbdClient.connect({ kind: "unix", path }, volume);
  const disk = await VolumeDisk.open(scope, uri(first));
  const device = await disk.attach();
  await run("mkfs.ext4", ["-q", device]);
  const files = writeFiles(await disk.mount(device, "rw"));
  const asked = await open(first);
  await waitFor("files to be written", () => filesOf(files).length >= filesBefore);

  const undos = [await firstMachine.cutFrom(etcd), await etcd.cutFrom(firstMachine)];
  const cutMs = performance.now();
  const taken = await waitFor("another to have the volume", () => open(taker));
  const tookMs = performance.now() - cutMs;
  assert.deepEqual(await askReplaced(asked), [], "nothing is answered OK once another has the volume");
  for (const undo of undos) await undo();
  assert.deepEqual(await askReplaced(asked), [], "nor when it reaches the metadata service again");
  // Its clients hear of it: the file system on the first gets errors, and whoever wrote to it ends.
  await files.end();
  const names = filesOf(files);
  const directory = join(lab.directory, volume);
  await run("mkdir", [directory]);
  await requireFiles(scope, directory, uri(taker), names);
  taken.destroy();
  asked.destroy();
  return `${names.length} files were synced; another had the volume after ${Math.round(tookMs)} ms`;
}

test("a client that is cut off from the metadata service alone", (t) =>
  inScope(async (scope) => {
    requireMounts();
    const sides = await start(scope);
    await t.test("is replaced when its lease has run out", (t) =>
      inScope(async (own) => t.diagnostic(await cutOffAndTaken(own, sides, "waited", sides.second))),
    );
    await t.test("is replaced by force at once", (t) =>
      inScope(async (own) => t.diagnostic(await cutOffAndTaken(own, sides, "forced", sides.third))),
    );
  }));
