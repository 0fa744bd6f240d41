// Sockets that read into memory which is used again (`onread`), where Node would hand on a fresh buffer for each read and leave
// it to the garbage collector.
//
// Node lets only those who connect say how they read. What was accepted is therefore opened again around its handle.

import type { OnReadOpts } from "node:net";
import { Socket } from "node:net";
import { assert } from "#model";

const sharedBytes = 256 * 1024;

/** Of whoever is reading now: it is read into and handed on in one go. */
let shared: Uint8Array | null = null;

export function sharedRoom(): Uint8Array {
  shared ??= new Uint8Array(sharedBytes);
  return shared;
}

/** The connection of `accepted`, which was made with `pauseOnConnect` and is nothing any more, in another object, which reads as `onread` says. */
export function reopened(accepted: Socket, onread: OnReadOpts): Socket {
  const holder = accepted as unknown as { _handle: unknown; allowHalfOpen: boolean };
  const { _handle: handle, allowHalfOpen } = holder;
  assert(handle !== null && handle !== undefined, "an accepted connection has a handle");
  holder._handle = null;
  return new Socket({ handle, allowHalfOpen, onread } as unknown as ConstructorParameters<typeof Socket>[0]);
}

/** The file descriptor of a connected socket, for a system call. Its owner must not read from it any more if somebody else then does. */
export function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle: { readonly fd: number } | null };
  assert(handle !== null && handle.fd >= 0, "a connected socket has a descriptor");
  return handle.fd;
}

/**
 * As `reopened`; "data" is told of bytes that are the listener's until it returns. Where they are received `room` says, which is asked before
 * the first and after each "data"; null: anywhere.
 */
export function rereading(accepted: Socket, room: () => Uint8Array | null): Socket {
  const socket: Socket = reopened(accepted, {
    buffer: () => room() ?? sharedRoom(),
    callback: (bytes, room) => socket.emit("data", Buffer.from(room.buffer, room.byteOffset, bytes)),
  });
  return socket;
}
