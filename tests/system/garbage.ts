// Clients that speak no known protocol, or half of one: random bytes, truncated and mutated handshakes, frames and
// requests that promise more than they send. All from a seed.

import { connect } from "node:net";
import { Dice, mutate } from "../../src/gateway/nbd/fuzz-suite-dice.ts";
import { encodeHandshake } from "../../src/peer/wire/handshake-codec.ts";

export { Dice };

export interface Port {
  readonly host: string;
  readonly port: number;
}

const atOnce = 16;
const connectionMsMax = 20_000;
const garbageBytesMax = 4096;

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

function nbdOption(number: number, data: Buffer, length = data.length): Buffer {
  return Buffer.concat([Buffer.from("IHAVEOPT"), uint32(number), uint32(length), data]);
}

/** What a client sends to an NBD server that has the export `name`. */
export function nbdGarbage(dice: Dice, name: string): Buffer {
  const flags = Buffer.from([0, 0, 0, 3]);
  const export_ = Buffer.from(name);
  const go = nbdOption(7, Buffer.concat([uint32(export_.length), export_, Buffer.alloc(2)]));
  const request = Buffer.concat([
    Buffer.from([0x25, 0x60, 0x95, 0x13, 0, 0, 0, dice.below(8)]),
    dice.bytes(20),
  ]);
  return dice.pick([
    () => dice.bytes(dice.below(garbageBytesMax)),
    () => Buffer.from("GET / HTTP/1.1\r\nHost: torus\r\n\r\n"),
    () => flags.subarray(0, dice.below(4)),
    () => Buffer.concat([flags, nbdOption(dice.below(20), dice.bytes(dice.below(200)))]),
    () => Buffer.concat([flags, nbdOption(7, dice.bytes(10), 0xffff_ffff)]),
    () => mutate(dice, Buffer.concat([flags, go])),
    // Transmission begins, and ends in the middle of a request or its payload. Never a whole write: it might be valid.
    () => Buffer.concat([flags, go, dice.bytes(200)]),
    () => Buffer.concat([flags, go, request.subarray(0, dice.below(28))]),
    () =>
      Buffer.concat([flags, go, Buffer.from("2560951300000001", "hex"), Buffer.alloc(16), uint32(65_536)]),
  ])();
}

/** What a client sends to a peer of that cluster. */
export function peerGarbage(dice: Dice, clusterId: string): Buffer {
  const hello = (id: string): Buffer => {
    const versions = { versionMin: 1, versionMax: 1 } as const;
    return Buffer.from(encodeHandshake({ kind: "hello", ...versions, clusterId: id, peer: "" }));
  };
  const good = hello(clusterId);
  return dice.pick([
    () => dice.bytes(dice.below(garbageBytesMax)),
    () => Buffer.from("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "latin1"),
    () => good.subarray(0, dice.below(good.length)),
    () => mutate(dice, Buffer.from(good)),
    () => hello("another-cluster"),
    () => Buffer.concat([good, dice.bytes(dice.below(garbageBytesMax))]),
    // A frame that promises 64 MiB and sends none.
    () =>
      Buffer.concat([
        good,
        dice.bytes(4),
        Buffer.from([0, 0, 0, 4]),
        Buffer.from([1, 0, 0, 0]),
        dice.bytes(8),
      ]),
  ])();
}

/** Sends each of `messages` on a connection of its own, and waits until all have ended. Returns the bytes sent. */
export async function pelt(port: Port, messages: readonly Buffer[]): Promise<number> {
  const waiting = [...messages];
  const lane = async (): Promise<void> => {
    for (let message = waiting.shift(); message !== undefined; message = waiting.shift())
      await throwAt(port, message);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return messages.reduce((sum, message) => sum + message.length, 0);
}

/** One connection: everything is sent, then our side is closed. Resolves when theirs is, or was broken off. */
function throwAt(port: Port, message: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port);
    socket.setTimeout(connectionMsMax, () => {
      socket.destroy();
      reject(new Error(`the server kept a connection after ${message.subarray(0, 64).toString("hex")}`));
    });
    // The server may break it off while we still send.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") reject(error);
    });
    socket.on("close", () => resolve());
    socket.resume();
    socket.end(message);
  });
}
