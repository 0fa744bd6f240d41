// Whether anything on this machine still has a block device open. The kernel lets a device be connected again under a program or a
// mount that was there before, which would go on as if nothing had been lost [C2].

import { constants, readdirSync, readlinkSync } from "node:fs";
import { open } from "node:fs/promises";

/** `procRoot` is "/proc" outside tests. Sees programs of other users only as root. */
export async function isDeviceOpen(device: string, procRoot: string): Promise<boolean> {
  return hasProgram(device, procRoot) || (await isClaimed(device));
}

/** Mounts, swap and device mappers claim a device for themselves, or its partitions. To open one may take an answer of this process. */
async function isClaimed(device: string): Promise<boolean> {
  try {
    const file = await open(device, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK);
    await file.close();
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EBUSY";
  }
}

function hasProgram(device: string, procRoot: string): boolean {
  const isOfDevice = (path: string) => path === device || /^p\d+$/.test(path.slice(device.length));
  return namesIn(procRoot)
    .filter((name) => /^\d+$/.test(name))
    .some((pid) =>
      namesIn(`${procRoot}/${pid}/fd`)
        .map((fd) => targetOf(`${procRoot}/${pid}/fd/${fd}`))
        .some((path) => path.startsWith(device) && isOfDevice(path)),
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
