// Snapshots of a file system in use: while files are written, 20 of them, each of which has every file that was synced before it
// was asked for. Each becomes a clone whose journal replays to a clean file system with those contents. With all of them deleted their
// space comes back.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Server } from "./daemons.ts";
import { Daemons, uriOf } from "./daemons.ts";
import { requireMounts, VolumeDisk } from "./file-system-mount.ts";
import { run, scratchDirectory, tryRun, waitFor } from "./programs.ts";
import { dice, seed } from "./scale.ts";

const snapshots = 20;
const volumeSize = "48MiB";
/** Names that are written again and again, in order, so that every snapshot differs from the others in many files. */
const names = 250;
const fileBytesMax = 48 * 1024;
const peerFlags = ["--collect-grace", "1s"];
/** So that not all files are written anew while one snapshot is taken. */
const pauseMs = 5;
const inodeBytesMax = 6 * 2 ** 20;
const stepMsMax = 60_000;
const freeCount = /^\S+: Free (blocks|inodes) count wrong \(\d+, counted=\d+\)\.$/;
const roll = dice(seed);

/** What a file holds, by its name. */
type Contents = ReadonlyMap<string, string>;

/** Writes files without end, synced one by one; `contents` is what is certain to be there. */
class FileWriter {
  readonly contents = new Map<string, string>();
  readonly #directory: string;
  #stopped = false;
  #rounds = 0;
  readonly #running: Promise<void>;

  constructor(directory: string) {
    this.#directory = directory;
    this.#running = this.#run();
  }

  get rounds(): number {
    return this.#rounds;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    for (; !this.#stopped; this.#rounds++) {
      const name = `file-${this.#rounds % names}`;
      // While it is being written nobody can say what is in it.
      this.contents.delete(name);
      this.contents.set(name, this.#write(name));
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  /** The digest of what it wrote and synced. */
  #write(name: string): string {
    const bytes = Buffer.alloc(1 + roll(fileBytesMax), `${name} ${this.#rounds} `);
    const path = join(this.#directory, name);
    rmSync(path, { force: true });
    const file = openSync(path, "w");
    writeSync(file, bytes);
    fsyncSync(file);
    const directory = openSync(this.#directory, "r");
    fsyncSync(directory);
    closeSync(directory);
    closeSync(file);
    return digest(bytes);
  }
}

function digest(bytes: Uint8Array): string {
  return createHash("sha1").update(bytes).digest("hex");
}

/** Files that were the same from before a snapshot was asked for until it was taken: it must have them. */
function unchanged(before: Contents, after: Contents): Contents {
  return new Map([...before].filter(([name, content]) => after.get(name) === content));
}

/** The clone's file system replays its journal, is clean then, and has `contents`. */
async function requireFiles(
  server: Server,
  clone: string,
  contents: Contents,
  scratch: string,
): Promise<void> {
  const image = join(scratch, clone);
  await run("nbdcopy", [uriOf(server, clone), image], stepMsMax);
  // As a mount does: the journal, and then the counts of free blocks and inodes, which are in no journal.
  await run("e2fsck", ["-y", "-E", "journal_only", image], stepMsMax);
  const { code, stdout } = await tryRun("e2fsck", ["-fp", image], stepMsMax);
  const wrong = stdout.split("\n").filter((line) => / wrong|ixed|error/i.test(line) && !freeCount.test(line));
  assert.ok(code !== null && code <= 1 && wrong.length === 0, `${clone}: ${stdout}`);
  await run("e2fsck", ["-fn", image], stepMsMax);
  const paths = [...contents.keys()].map((name) => ({ name, path: join(scratch, `${clone}-${name}`) }));
  writeFileSync(join(scratch, "dump"), paths.map(({ name, path }) => `dump /${name} ${path}\n`).join(""));
  await run("debugfs", ["-f", join(scratch, "dump"), image], stepMsMax);
  for (const { name, path } of paths)
    assert.equal(digest(readFileSync(path)), contents.get(name), `${name} in ${clone}`);
  rmSync(image);
}

/** Used bytes of all peers. */
async function used(daemons: Daemons): Promise<number> {
  const { peers } = JSON.parse(await daemons.torusctl("peer", "list", "-o", "json")) as {
    peers: { usedBytes: number }[];
  };
  return peers.reduce((sum, { usedBytes }) => sum + usedBytes, 0);
}

test(`${snapshots} snapshots of a file system in use, each clean and whole in a clone (seed ${seed})`, async (t) => {
  requireMounts();
  const scratch = scratchDirectory(t);
  const daemons = await Daemons.start(t, { blockSize: "1MiB", peerFlags });
  await daemons.torusctl("volume", "create-block", "v", volumeSize);
  const server = await daemons.startServer(["v"]);
  const disk = await VolumeDisk.open(t, uriOf(server, "v"));
  const device = await disk.attach();
  await run("mkfs.ext4", ["-q", device], stepMsMax);
  const writer = new FileWriter(await disk.mount(device, "rw"));
  const kept: Contents[] = [];
  for (let i = 1; i <= snapshots; i++) {
    const before = new Map(writer.contents);
    await daemons.torusctl("volume", "snapshot", "create", `v@s${i}`);
    kept.push(unchanged(before, writer.contents));
  }
  t.diagnostic(`${writer.rounds} files written, ${kept.map(({ size }) => size).join(" ")} certain`);
  assert.ok(
    kept.filter(({ size }) => size >= 10).length >= snapshots / 2,
    "no snapshot has files to be judged by",
  );
  await writer.stop();
  await disk.unmount();
  await disk.detach();
  await disk.close();
  for (const [i, contents] of kept.entries()) {
    await daemons.torusctl("volume", "clone", `v@s${i + 1}`, `clone-${i + 1}`);
    await requireFiles(server, `clone-${i + 1}`, contents, scratch);
  }
  const full = await used(daemons);
  await daemons.stop(server);
  const clones = kept.map((_, i) => `clone-${i + 1}`);
  await daemons.torusctl("volume", "delete", ...clones);
  await daemons.torusctl("volume", "snapshot", "delete", ...kept.map((_, i) => `v@s${i + 1}`));
  const { volumes } = JSON.parse(await daemons.torusctl("volume", "list", "-o", "json")) as {
    volumes: { logBytes: number }[];
  };
  let last = full;
  await waitFor("the space of snapshots and clones to come back", async () => {
    last = await used(daemons);
    // What the volume itself needs, on three peers, and some INodes.
    return last <= 3 * (volumes[0].logBytes + inodeBytesMax);
  });
  t.diagnostic(
    `${Math.round(full / 2 ** 20)} MiB with all of them, ${Math.round(last / 2 ** 20)} MiB without`,
  );
  await daemons.stopAll();
});
