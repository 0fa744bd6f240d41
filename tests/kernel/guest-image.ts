// What a guest is made of: Debian's kernel, taken out of its package, and a file system in memory with busybox, Node, the bundled programs and what
// the guest does. It is put together anew for each run, all but the kernel, which is downloaded once.

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

const root = join(import.meta.dirname, "../..");
const cache = join(root, "node_modules/.cache/kernel");
const kernelPackage = "linux-image-cloud-amd64";
/** What the guest needs of the kernel's modules, in the order in which they are loaded; what these need comes first. */
const modules = ["virtio_pci", "virtio_blk", "nbd"];
/** Programs of this machine that the guest has, with their libraries. */
const programs = { "/bin/mke2fs": ["mke2fs"], "/bin/busybox": ["busybox"] } as const;

export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
  /** For what the guest writes: an empty ext4. */
  readonly disk: string;
}

/** `folder`: an empty one, for what is made. */
export function makeGuest(folder: string): GuestImage {
  const unpacked = unpackedKernel();
  const version = readdirSync(join(unpacked, "lib/modules"))[0];
  const tree = join(folder, "tree");
  for (const name of [
    "bin",
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
    "data",
    "etc",
    "mnt",
    "modules",
    "torus",
    "guest",
  ])
    mkdirSync(join(tree, name), { recursive: true });
  for (const [target, [program]] of Object.entries(programs)) copyProgram(which(program), join(tree, target));
  copyProgram(process.execPath, join(tree, "bin/node"));
  copyTorus(join(tree, "torus"));
  for (const name of ["init", "scenario.ts", "guest-programs.ts"])
    cpSync(join(import.meta.dirname, name), join(tree, name === "init" ? name : `guest/${name}`));
  writeFileSync(join(tree, "guest/package.json"), '{"type":"module"}');
  const wanted = join(unpacked, "lib/modules", version);
  const order = modules.flatMap((name) => withDependencies(name, wanted));
  for (const path of new Set(order)) cpSync(join(wanted, path), join(tree, "modules", basename(path)));
  writeFileSync(
    join(tree, "modules/order"),
    [...new Set(order)].map((path) => `${basename(path)}\n`).join(""),
  );
  const initrd = join(folder, "initrd");
  execFileSync("sh", ["-c", `find . | cpio -o -H newc --quiet > "$1"`, "sh", initrd], { cwd: tree });
  rmSync(tree, { recursive: true });
  const disk = join(folder, "disk");
  execFileSync("mke2fs", ["-q", "-F", "-t", "ext4", disk, "1G"]);
  return { kernel: globSync(join(unpacked, "boot/vmlinuz-*"))[0], initrd, disk };
}

function unpackedKernel(): string {
  const unpacked = join(cache, "unpacked");
  if (existsSync(unpacked)) return unpacked;
  mkdirSync(cache, { recursive: true });
  const depends = execFileSync("apt-cache", ["depends", kernelPackage], { encoding: "utf8" });
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name === undefined) throw new Error(`apt knows no ${kernelPackage}: try apt-get update`);
  execFileSync("apt-get", ["-qq", "download", name], { cwd: cache, stdio: ["ignore", "ignore", "inherit"] });
  const [found] = globSync(join(cache, `${name}_*.deb`));
  execFileSync("dpkg-deb", ["-x", found, `${unpacked}.part`]);
  renameSync(`${unpacked}.part`, unpacked);
  return unpacked;
}

/** Paths below the folder of a kernel's modules: those it needs, then itself. None when it is built in. */
function withDependencies(name: string, folder: string): string[] {
  const paths = globSync("kernel/**/*.ko*", { cwd: folder });
  const nameOf = (path: string) =>
    basename(path)
      .replace(/\.ko.*$/, "")
      .replaceAll("-", "_");
  const path = paths.find((candidate) => nameOf(candidate) === name);
  if (path === undefined) return [];
  const needs = execFileSync("modinfo", ["-F", "depends", join(folder, path)], { encoding: "utf8" }).trim();
  return [
    ...needs
      .split(",")
      .filter(Boolean)
      .flatMap((other) => withDependencies(other, folder)),
    path,
  ];
}

function which(program: string): string {
  return execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
}

function copyProgram(source: string, target: string): void {
  copyFileSync(source, target);
  chmodSync(target, 0o755);
  let libraries = "";
  try {
    libraries = execFileSync("ldd", [source], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return; // It is static.
  }
  const tree = join(dirname(target), "..");
  for (const [path] of libraries.matchAll(/\/\S+/g)) {
    mkdirSync(join(tree, dirname(path)), { recursive: true });
    copyFileSync(path, join(tree, path));
    chmodSync(join(tree, path), 0o755);
  }
}

function copyTorus(target: string): void {
  for (const path of globSync(join(root, "dist/*.js"))) cpSync(path, join(target, basename(path)));
  writeFileSync(join(target, "package.json"), '{"type":"module"}');
  for (const name of ["koffi", "@koromix/koffi-linux-x64"])
    cpSync(join(root, "node_modules", name), join(target, "node_modules", name), { recursive: true });
}
