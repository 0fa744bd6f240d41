// NbdDriver: asks the kernel's nbd driver to do something and waits until it has, or says why it has not.

import { TorusError } from "#model";
import { familyOf, getFamilyRequest } from "./nbd-netlink-codec.ts";
import type { NetlinkMessage, NetlinkRequest } from "./netlink-codec.ts";
import { decodeMessages, encodeRequest } from "./netlink-codec.ts";

/** A netlink socket of #host/node. */
export interface NetlinkSocket {
  exchange(message: Uint8Array): Promise<readonly Uint8Array[]>;
  close(): void;
}

/** What the driver says with its errors. */
export const errno = { permission: 1, missing: 2, invalid: 22, busy: 16, noDeadSocket: 28 } as const;

const sequenceMax = 2 ** 31;

export class NbdDriver {
  readonly #open: () => Promise<NetlinkSocket>;
  #sequence = 0;

  constructor(open: () => Promise<NetlinkSocket>) {
    this.#open = open;
  }

  /** 0 when it was done, else the errno. Rejects with `unsupported` when there is nobody to ask, `io` when nothing is answered. */
  async ask(request: (family: number, sequence: number) => NetlinkRequest): Promise<number> {
    const socket = await this.#open();
    try {
      const found = await this.#exchange(socket, (sequence) => getFamilyRequest(sequence));
      const family = familyOf(found.messages);
      if (family === null)
        throw new TorusError(
          "unsupported",
          `the kernel's nbd driver cannot be reached (errno ${found.errno})`,
        );
      return (await this.#exchange(socket, (sequence) => request(family, sequence))).errno;
    } finally {
      socket.close();
    }
  }

  async #exchange(
    socket: NetlinkSocket,
    request: (sequence: number) => NetlinkRequest,
  ): Promise<{ readonly messages: readonly NetlinkMessage[]; readonly errno: number }> {
    this.#sequence = (this.#sequence % sequenceMax) + 1;
    const sequence = this.#sequence;
    const datagrams = await socket.exchange(encodeRequest(request(sequence)));
    const messages = datagrams.flatMap(decodeMessages).filter((message) => message.sequence === sequence);
    const done = messages.find((message) => message.kind === "done");
    if (done === undefined)
      throw new TorusError("io", "the kernel did not say whether it did what it was asked");
    return { messages, errno: done.errno };
  }
}

/** For people: what went wrong, and what to do. */
export function refusal(device: string, code: number): TorusError {
  if (code === errno.permission)
    return new TorusError(
      "unsupported",
      `${device}: the kernel does this for root alone: run torusblk as root`,
    );
  return new TorusError("io", `${device}: the kernel refused (errno ${code}); dmesg may say why`);
}
