// The Debian packages whose programs the system tests, chaos and the benchmark drive. They are found by the programs themselves, so that
// other ways to install them do as well. As root what is missing is installed; otherwise the line to type is shown.

import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const packageOfProgram: Readonly<Record<string, string>> = {
  nbdinfo: "libnbd-bin",
  nbdcopy: "libnbd-bin",
  nbdfuse: "nbdfuse",
  "qemu-img": "qemu-utils",
  "qemu-io": "qemu-utils",
  fio: "fio",
  "mkfs.ext4": "e2fsprogs",
  e2fsck: "e2fsprogs",
  resize2fs: "e2fsprogs",
  debugfs: "e2fsprogs",
  fusermount3: "fuse3",
  etcd: "etcd-server",
  openssl: "openssl",
  psktool: "gnutls-bin",
  nbdsh: "python3-libnbd",
  nbdkit: "nbdkit",
  ip: "iproute2",
  tc: "iproute2",
  iptables: "iptables",
};

/** What `npm run kernel` needs besides. */
const packageOfKernelProgram: Readonly<Record<string, string>> = {
  "qemu-system-x86_64": "qemu-system-x86",
  busybox: "busybox-static",
  cpio: "cpio",
  mke2fs: "e2fsprogs",
  modinfo: "kmod",
};

const aptMsMax = 10 * 60_000;

/** Programs of administrators are often not on a user's PATH. */
function searchPath(): string[] {
  return [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin", "/usr/local/sbin"].filter(
    Boolean,
  );
}

function isInstalled(program: string): boolean {
  return searchPath().some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function missingPrograms(of: Readonly<Record<string, string>>): string[] {
  return Object.keys(of).filter((program) => !isInstalled(program));
}

function aptGet(...args: string[]): boolean {
  const run = spawnSync("apt-get", ["-qq", "-o=Dpkg::Use-Pty=0", ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "ignore", "inherit"],
    timeout: aptMsMax,
  });
  return run.status === 0;
}

/** Sees to it that every program is there. Returns null, or what to tell the user. */
export function ensureSystemPackages(
  say: (line: string) => void,
  what: "tests" | "kernel" = "tests",
): string | null {
  process.env["PATH"] = searchPath().join(delimiter);
  const wanted = what === "tests" ? packageOfProgram : packageOfKernelProgram;
  const missing = missingPrograms(wanted);
  if (missing.length === 0) return null;
  const packages = [...new Set(missing.map((program) => wanted[program]))];
  const install = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  const advice = `the system tests need ${missing.join(", ")}; install them with\n  sudo ${install}\nor run the others with: npm run unit`;
  if (process.getuid?.() !== 0 || !isInstalled("apt-get")) return advice;
  say(`Installing ${packages.join(" ")} for the system tests (once).`);
  if (!aptGet("update")) say("apt-get update failed; trying with the package lists there are.");
  const installed = aptGet("install", "-y", "--no-install-recommends", ...packages);
  const still = missingPrograms(wanted);
  if (installed && still.length === 0) return null;
  return `could not install ${still.join(", ") || packages.join(", ")} with\n  ${install}`;
}
