// What the kernel's nbd driver is told and asked by generic netlink. Source: linux/nbd-netlink.h.

import type { Attribute, NetlinkMessage, NetlinkRequest } from "./netlink-codec.ts";
import { numberOf } from "./netlink-codec.ts";

/** The family that tells the numbers of the others has this one itself. */
const controller = { family: 16, version: 1, getFamily: 3, familyId: 1, familyName: 2 } as const;

export const familyName = "nbd";
const version = 1;
const command = { connect: 1, disconnect: 2, reconfigure: 3 } as const;
const attribute = {
  index: 1,
  sizeBytes: 2,
  blockSizeBytes: 3,
  timeout: 4,
  serverFlags: 5,
  sockets: 7,
  deadConnTimeout: 8,
  backendIdentifier: 10,
} as const;
const socketItem = 1;
const socketDescriptor = 1;

export interface ConnectMessage {
  /** The N of /dev/nbdN. */
  readonly index: number;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /** A request without an answer for so long gives its connection up, and goes to the next. */
  readonly timeoutSeconds: number;
  /** How long requests wait for a connection when there is none; 0: not at all. */
  readonly deadSeconds: number;
  /** The transmission flags of the export. */
  readonly serverFlags: number;
  /** A file descriptor of this process: the kernel keeps the socket. */
  readonly socket: number;
  /** Who may connect it anew. */
  readonly backend: string;
}

export function getFamilyRequest(sequence: number): NetlinkRequest {
  const { family, version: ofController, getFamily, familyName: name } = controller;
  const attributes = [{ type: name, value: { text: familyName } }];
  return { family, sequence, command: getFamily, version: ofController, attributes };
}

/** Null when the kernel has not said. */
export function familyOf(messages: readonly NetlinkMessage[]): number | null {
  for (const message of messages)
    if (message.kind === "answer") return numberOf(message.attributes, controller.familyId, 2);
  return null;
}

export function connectRequest(family: number, sequence: number, of: ConnectMessage): NetlinkRequest {
  return nbdRequest(family, sequence, command.connect, [
    { type: attribute.index, value: { u32: of.index } },
    { type: attribute.sizeBytes, value: { u64: of.sizeBytes } },
    { type: attribute.blockSizeBytes, value: { u64: of.blockBytes } },
    { type: attribute.timeout, value: { u64: of.timeoutSeconds } },
    { type: attribute.deadConnTimeout, value: { u64: of.deadSeconds } },
    { type: attribute.serverFlags, value: { u64: of.serverFlags } },
    { type: attribute.backendIdentifier, value: { text: of.backend } },
    sockets(of.socket),
  ]);
}

/** A new connection in the place of one that is dead. */
export function reconnectRequest(
  family: number,
  sequence: number,
  of: Pick<ConnectMessage, "index" | "sizeBytes" | "deadSeconds" | "socket" | "backend">,
): NetlinkRequest {
  return nbdRequest(family, sequence, command.reconfigure, [
    { type: attribute.index, value: { u32: of.index } },
    { type: attribute.sizeBytes, value: { u64: of.sizeBytes } },
    { type: attribute.deadConnTimeout, value: { u64: of.deadSeconds } },
    { type: attribute.backendIdentifier, value: { text: of.backend } },
    sockets(of.socket),
  ]);
}

export function resizeRequest(
  family: number,
  sequence: number,
  of: Pick<ConnectMessage, "index" | "sizeBytes" | "backend">,
): NetlinkRequest {
  return nbdRequest(family, sequence, command.reconfigure, [
    { type: attribute.index, value: { u32: of.index } },
    { type: attribute.sizeBytes, value: { u64: of.sizeBytes } },
    { type: attribute.backendIdentifier, value: { text: of.backend } },
  ]);
}

export function disconnectRequest(family: number, sequence: number, index: number): NetlinkRequest {
  return nbdRequest(family, sequence, command.disconnect, [{ type: attribute.index, value: { u32: index } }]);
}

function sockets(descriptor: number): Attribute {
  const item: Attribute = {
    type: socketItem,
    value: { nested: [{ type: socketDescriptor, value: { u32: descriptor } }] },
  };
  return { type: attribute.sockets, value: { nested: [item] } };
}

function nbdRequest(
  family: number,
  sequence: number,
  number: number,
  attributes: readonly Attribute[],
): NetlinkRequest {
  return { family, sequence, command: number, version, attributes };
}
