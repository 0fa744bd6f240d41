// Whether anything on this machine still has a block device open. The kernel lets a device be connected again under a program or a
// mount that was there before, which would go on as if nothing had been lost [C2].

import { closeSync, constants, openSync, readdirSync, readlinkSync } from "node:fs";

/** `procRoot` is "/proc" outside tests. Sees programs of other users only as root. */
export function isDeviceOpen(device: string, procRoot: string): boolean {
  return isClaimed(device) || hasProgram(device, procRoot);
}

/** Mounts, swap and device mappers claim a device for themselves. */
function isClaimed(device: string): boolean {
  try {
    closeSync(openSync(device, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EBUSY";
  }
}

function hasProgram(device: string, procRoot: string): boolean {
  return namesIn(procRoot)
    .filter((name) => /^\d+$/.test(name))
    .some((pid) =>
      namesIn(`${procRoot}/${pid}/fd`).some((fd) => targetOf(`${procRoot}/${pid}/fd/${fd}`) === device),
    );
}

/** None when it is gone, or another user's. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return "";
  }
}
