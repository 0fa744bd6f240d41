// A volume as a device of a real kernel: `npm run kernel`. Most machines that develop have no nbd module, so this boots Debian's kernel in
// a guest of qemu (emulated, with no need of a device of this machine) and does there what tests/kernel/scenario.ts says. On Debian, x64.
//
//   --console     shows all that the guest prints
//
// Exit code 1 when something was not as it must be.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { GuestImage } from "../tests/kernel/guest-image.ts";
import { makeGuest } from "../tests/kernel/guest-image.ts";
import { readFlags } from "./script-flags.ts";
import { ensureSystemPackages } from "./system-packages.ts";

const guestMsMax = 15 * 60_000;
const usage = "npm run kernel [-- --console]: a volume as a device of a real kernel, in a guest of qemu";
const success = /^GUEST: all seen/;

/** The lines that the guest prints, as they come. */
function boot({ kernel, initrd, disk }: GuestImage, onLine: (line: string) => void): Promise<void> {
  const drive = [
    "-drive",
    `id=d,file=${disk},format=raw,if=none,cache=unsafe`,
    "-device",
    "virtio-blk-pci,drive=d",
  ];
  const quick = "mitigations=off no_timer_check audit=0 apparmor=0";
  const guest = spawn(
    "qemu-system-x86_64",
    [
      ...["-accel", "tcg", "-cpu", "max", "-m", "1536", "-nographic", "-no-reboot", "-net", "none"],
      ...["-kernel", kernel, "-initrd", initrd, "-append", `console=ttyS0 quiet panic=-1 ${quick}`],
      ...drive,
    ],
    { stdio: ["ignore", "pipe", "inherit"], timeout: guestMsMax, killSignal: "SIGKILL" },
  );
  let rest = "";
  guest.stdout.on("data", (part: Buffer) => {
    const lines = (rest + part.toString("latin1")).replaceAll("\r", "").split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(onLine);
  });
  return new Promise((resolve, reject) => {
    guest.once("error", reject);
    guest.once("close", () => resolve());
  });
}

async function main(showsAll: boolean): Promise<number> {
  const advice = ensureSystemPackages((line) => process.stderr.write(`${line}\n`), "kernel");
  if (advice !== null) throw new Error(advice);
  execFileSync(process.execPath, [join(import.meta.dirname, "build.ts")], { stdio: "ignore" });
  const folder = mkdtempSync(join(tmpdir(), "torus-kernel-"));
  let seen = false;
  try {
    await boot(makeGuest(folder), (line) => {
      seen ||= success.test(line);
      if (showsAll || /^GUEST: |nbd\d+: | {4}at /.test(line)) process.stdout.write(`${line}\n`);
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return seen ? 0 : 1;
}

const flags = readFlags(
  "kernel",
  usage,
  () => parseArgs({ options: { console: { type: "boolean", default: false } } }).values,
);
if (flags !== null) process.exitCode = await main(flags.console);
