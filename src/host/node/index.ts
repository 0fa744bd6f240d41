// host/node: the real outside: this machine's clocks, randomness, log, disk and sockets. Enters: options. Leaves:
// implementations of the interfaces of #host. Only client and cmd (and tests) may name it.

export { openBootClock, systemClock } from "./clock.ts";
export { openDisk } from "./disk.ts";
export type { FileLock } from "./file-lock.ts";
export { lockDirectory } from "./file-lock.ts";
export { openForeignFile } from "./foreign-file.ts";
export { collectGarbage, releaseHeap } from "./heap.ts";
export type { LogLevel, LogOptions, LogTarget } from "./log.ts";
export { createLog, logLevels, readableLine } from "./log.ts";
export { makeDirectory } from "./make-directory.ts";
export type { NetlinkSocket } from "./netlink.ts";
export { openNetlink } from "./netlink.ts";
export { systemNetwork } from "./network.ts";
export { systemRandom } from "./random.ts";
export { descriptorOf, rereading } from "./reread.ts";
