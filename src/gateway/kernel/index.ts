// gateway/kernel: the block devices of this machine's kernel, /dev/nbdN. Enters: sockets of an NBD server. Leaves: devices
// that programs mount, which outlive the process that serves them and wait for the next.

export type {
  ConnectRequest,
  DeviceName,
  KernelNbdDeps,
  KernelNbdOptions,
  Outcome,
  ServedSocket,
  WaitingDevice,
} from "./kernel-nbd.ts";
export { KernelNbd } from "./kernel-nbd.ts";
export { genericNetlink } from "./netlink-codec.ts";
