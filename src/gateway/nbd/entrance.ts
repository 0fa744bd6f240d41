// A client's way into an export of a server on this machine, up to where transmission begins: for who then gives the socket away, to a
// kernel that knows no handshake. By EXPORT_NAME, whose answer has one length, so that not a byte more is read than is of the handshake.

import type { Socket } from "node:net";
import { connect } from "node:net";
import { TorusError } from "#model";
import { decodeEntrance, encodeEntrance, entranceBytes } from "./nbd-codec.ts";

export interface Entrance {
  /** Connected, and not read from any more. Destroying it closes it here and not where it was given to. */
  readonly socket: Socket;
  readonly sizeBytes: number;
  /** Transmission flags. */
  readonly flags: number;
}

/** `path`: of the server's unix socket. Rejects with `io` when the server refuses. */
export function enterExport(path: string, name: string): Promise<Entrance> {
  const room = Buffer.alloc(entranceBytes);
  let held = 0;
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      socket.destroy();
      reject(new TorusError("io", `export "${name}" of ${path} could not be entered: ${reason}`));
    };
    const socket: Socket = connect({
      path,
      onread: {
        // It reads as long as true is returned, and as much as there is room for.
        buffer: () => room.subarray(held),
        callback: (bytes) => {
          held += bytes;
          if (held < entranceBytes) return true;
          const entered = decodeEntrance(room);
          if (entered === null) fail("it does not speak NBD");
          else resolve({ socket, ...entered });
          return false;
        },
      },
    });
    socket.on("error", (error) => fail(error.message));
    socket.on("close", () => fail("the server closed the connection"));
    // All that a client says can be said before the server has said anything.
    socket.write(encodeEntrance(name));
  });
}
