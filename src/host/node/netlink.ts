// Netlink: how programs speak to the kernel where there is neither a file nor a system call for it. Node has no sockets of that family, so
// these are made by calls of the C library (docs/decisions/0010-netlink-by-koffi.md).

import type { LibraryHandle } from "koffi";
import { messageOf, TorusError } from "#model";

export interface NetlinkSocket {
  /**
   * Sends one message, waits until the kernel has done what it says, and gives what came of it, one datagram each. The kernel may wait
   * for a socket that this process serves, so the process goes on meanwhile. One at a time.
   */
  exchange(message: Uint8Array): Promise<Uint8Array[]>;
  close(): void;
}

const netlinkFamily = 16;
const rawCloseOnExec = 3 | 0o2000000;
const dontWait = 0x40;
const addressBytes = 12;
const datagramBytesMax = 64 * 1024;
const datagramsMax = 64;

interface SystemCalls {
  socket(family: number, type: number, protocol: number): number;
  sendto(
    socket: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    to: Uint8Array,
    toLength: number,
  ): Promise<number>;
  recv(socket: number, bytes: Uint8Array, length: number, flags: number): number;
  close(socket: number): number;
  errno(): number;
}

/** Rejects with `unsupported` where the C library cannot be called. */
export async function openNetlink(protocol: number): Promise<NetlinkSocket> {
  const calls = await systemCalls();
  const socket = calls.socket(netlinkFamily, rawCloseOnExec, protocol);
  if (socket < 0)
    throw new TorusError(
      "unsupported",
      `the system has no netlink sockets for programs (errno ${calls.errno()})`,
    );
  const kernel = new Uint8Array(addressBytes);
  kernel[0] = netlinkFamily;
  return {
    exchange: async (message) => {
      const sent = await calls.sendto(socket, message, message.length, 0, kernel, kernel.length);
      if (sent !== message.length)
        throw new TorusError("io", `the kernel took ${sent} of ${message.length} bytes of a netlink message`);
      return received(calls, socket);
    },
    close: () => void calls.close(socket),
  };
}

/** What the kernel answers is there when it has taken the message. */
function received(calls: SystemCalls, socket: number): Uint8Array[] {
  const room = new Uint8Array(datagramBytesMax);
  const datagrams: Uint8Array[] = [];
  while (datagrams.length < datagramsMax) {
    const length = calls.recv(socket, room, room.length, dontWait);
    if (length < 0) return datagrams;
    datagrams.push(room.slice(0, length));
  }
  return datagrams;
}

async function systemCalls(): Promise<SystemCalls> {
  try {
    const { default: koffi } = await import("koffi");
    return callsOf(koffi.load(null), () => koffi.errno());
  } catch (error) {
    throw new TorusError(
      "unsupported",
      `the npm package koffi, which calls the C library, cannot be used here (${messageOf(error)}): npm install koffi`,
    );
  }
}

function callsOf(library: LibraryHandle, errno: () => number): SystemCalls {
  const sendto = library.func("int64_t sendto(int, const uint8_t *, size_t, int, const uint8_t *, uint32_t)");
  return {
    socket: library.func("int socket(int, int, int)"),
    sendto: (...args) =>
      new Promise((resolve, reject) => {
        sendto.async(...args, (error: unknown, sent: number) => (error ? reject(error) : resolve(sent)));
      }),
    recv: library.func("int64_t recv(int, _Out_ uint8_t *, size_t, int)"),
    close: library.func("int close(int)"),
    errno,
  };
}
