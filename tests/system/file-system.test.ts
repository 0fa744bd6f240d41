// A file system on a volume: a source tree is unpacked into it, it is found clean, and after a stop and a start the
// tree is the same, byte for byte.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Cluster } from "./cluster.ts";
import { requireMounts, VolumeDisk } from "./file-system-mount.ts";
import { describeTree } from "./file-tree.ts";
import { root, run, scratchDirectory } from "./programs.ts";

const filesMin = 2000;
const stepMsMax = 180_000;
/** Native programs of many megabytes are no source. */
const left = ["node-linux-*/bin", "@biomejs/cli-*", "@esbuild"];

/** A tarball of thousands of real files: the packages that this project is built with. */
async function packTree(directory: string): Promise<string> {
  const tarball = join(directory, "tree.tar");
  const packages = join(root, "node_modules");
  const names = readdirSync(packages).filter((name) => !name.startsWith("."));
  const excluded = left.map((pattern) => `--exclude=${pattern}`);
  await run("tar", ["-C", packages, "-cf", tarball, ...excluded, ...names.sort()], stepMsMax);
  return tarball;
}

test("ext4 on a volume: thousands of files, a clean check, the same files after a restart", async (t) => {
  requireMounts();
  const directory = scratchDirectory(t);
  const tarball = await packTree(directory);
  const original = join(directory, "original");
  await run("mkdir", [original]);
  await run("tar", ["-C", original, "-xf", tarball], stepMsMax);
  const expected = describeTree(original);
  assert.ok(expected.length >= filesMin, `only ${expected.length} files to unpack`);

  const cluster = await Cluster.start(t, { flags: ["--size", "1GiB"] });
  await t.test("unpacked, unmounted, and clean", async (t) => {
    const disk = await VolumeDisk.open(t, cluster.unixUri);
    const device = await disk.attach();
    await run("mkfs.ext4", ["-q", device], stepMsMax);
    const files = await disk.mount(device, "rw");
    await run("tar", ["-C", files, "-xf", tarball], stepMsMax);
    await disk.unmount();
    await disk.detach();
    await run("e2fsck", ["-f", "-n", disk.file], stepMsMax);
    await disk.close();
  });

  await t.test("the same after everything was stopped and started", async (t) => {
    const { code, stdout, stderr } = await cluster.stop("SIGTERM");
    assert.equal(code, 0, stdout + stderr);
    await cluster.start();
    const disk = await VolumeDisk.open(t, cluster.unixUri);
    const device = await disk.attach("--read-only");
    const files = await disk.mount(device, "ro");
    const found = describeTree(files);
    await disk.unmount();
    await disk.detach();
    await disk.close();
    assert.deepEqual(
      found.filter((line, i) => line !== expected[i]),
      [],
    );
    assert.equal(found.length, expected.length);
  });
  assert.equal((await cluster.stop("SIGTERM")).code, 0);
});
