// A volume as a mounted file system: nbdfuse makes it a file, a loop device makes the file a disk, and the kernel mounts
// that. Everything is taken down in the other order when the test ends, also when it fails or its process is ended.

import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import type { Scope } from "./programs.ts";
import { Program, run, waitFor } from "./programs.ts";

const undoMsMax = 30_000;
const stepMsMax = 60_000;

/** What undoes the steps taken, latest last. A step that was undone in order is not undone twice. */
const undoing = new Set<() => void>();

function undoAll(): void {
  for (const undo of [...undoing].reverse()) undo();
  undoing.clear();
}
// Before the daemons are killed: a file system whose disk is gone cannot be unmounted in order.
process.prependListener("exit", undoAll);

/** What a step leaves behind goes by these commands, whatever state it is in. */
function undoBy(...commands: readonly (readonly string[])[]): () => void {
  const undo = (): void => {
    for (const [program, ...args] of commands)
      spawnSync(program, args, { stdio: "ignore", timeout: undoMsMax });
  };
  undoing.add(undo);
  return () => undoing.delete(undo);
}

/** Its directories are empty when nothing is mounted on them; into what is mounted nothing reaches. */
function removeUnmounted(directory: string): void {
  try {
    for (const path of ["disk", "files", "."]) rmdirSync(join(directory, path));
  } catch {
    process.stderr.write(`something is still mounted in ${directory}\n`);
  }
}

/** Fails with what the machine lacks. */
export function requireMounts(): void {
  if (process.getuid?.() !== 0) throw new Error("this test mounts a file system: run it as root");
  for (const [device, advice] of [
    ["/dev/fuse", "modprobe fuse, or start the container with --device /dev/fuse"],
    ["/dev/loop-control", "modprobe loop, or start the container with --privileged"],
  ]) {
    try {
      accessSync(device, constants.R_OK | constants.W_OK);
    } catch {
      throw new Error(`this test needs ${device}, which cannot be used here: ${advice}`);
    }
  }
}

/** The volume as a disk of this machine. */
export class VolumeDisk {
  /** The volume as a file. */
  readonly file: string;
  readonly #directory: string;
  readonly #fuse: Program;
  #loop: { readonly device: string; readonly forget: () => void } | null = null;
  #mount: (() => void) | null = null;
  readonly #forgetFuse: () => void;

  private constructor(directory: string, fuse: Program, forget: () => void) {
    this.#directory = directory;
    this.#fuse = fuse;
    this.#forgetFuse = forget;
    this.file = join(directory, "disk", "nbd");
  }

  static async open(t: Scope, uri: string): Promise<VolumeDisk> {
    requireMounts();
    const directory = mkdtempSync("/tmp/torus-disk-");
    undoing.add(() => removeUnmounted(directory));
    for (const name of ["disk", "files"]) mkdirSync(join(directory, name));
    const forget = undoBy(["fusermount3", "-u", "-z", join(directory, "disk")]);
    t.after(undoAll);
    const fuse = new Program("nbdfuse", [join(directory, "disk"), uri]);
    const disk = new VolumeDisk(directory, fuse, forget);
    const ended = fuse.ended.then(({ code, stderr }): never => {
      throw new Error(`nbdfuse ended with ${code}: ${stderr}`);
    });
    await Promise.race([waitFor("nbdfuse to show the volume", () => existsSync(disk.file)), ended]);
    ended.catch(() => {});
    return disk;
  }

  /** A loop device over the file. */
  async attach(...flags: string[]): Promise<string> {
    const device = (await run("losetup", ["--find", "--show", ...flags, this.file], stepMsMax)).trim();
    this.#loop = { device, forget: undoBy(["losetup", "-d", device]) };
    return device;
  }

  /** Mounts the device; returns where. */
  async mount(device: string, options: string): Promise<string> {
    const path = join(this.#directory, "files");
    await run("mount", ["-t", "ext4", "-o", options, device, path], stepMsMax);
    const forget = undoBy(["umount", "-l", path]);
    this.#mount = forget;
    return path;
  }

  async unmount(): Promise<void> {
    await run("umount", [join(this.#directory, "files")], stepMsMax);
    this.#mount?.();
  }

  async detach(): Promise<void> {
    if (this.#loop === null) return;
    await run("losetup", ["-d", this.#loop.device], stepMsMax);
    this.#loop.forget();
  }

  /** Lets go of the volume. */
  async close(): Promise<void> {
    await run("fusermount3", ["-u", join(this.#directory, "disk")], stepMsMax);
    this.#forgetFuse();
    const { code, stderr } = await this.#fuse.end(stepMsMax);
    if (code !== 0) throw new Error(`nbdfuse ended with ${code}: ${stderr}`);
  }
}
