// Asks an NBD server for an export the way any client does (fixed newstyle handshake, NBD_OPT_GO; the NBD protocol,
// doc/proto.md), and hangs up. That it answers proves the whole way: server, volume attached, peers reached.

import type { NetConnectOpts } from "node:net";
import { connect } from "node:net";
import { messageOf, TorusError } from "#model";

const optionMagic = 0x49484156454f5054n; // "IHAVEOPT"
const replyMagic = 0x3e889045565a9n;
const flagsFixedNoZeroes = 3;
const optionGo = 7;
const replyAck = 1;
const replyInfo = 3;
const replyError = 2 ** 31;
const infoExport = 0;
const greetingBytes = 18;
const replyHeaderBytes = 20;
const replyDataBytesMax = 64 * 1024;

function goRequest(name: string): Buffer {
  const bytes = Buffer.from(name, "utf8");
  const request = Buffer.alloc(4 + 16 + 4 + bytes.length + 2);
  request.writeUInt32BE(flagsFixedNoZeroes, 0);
  request.writeBigUInt64BE(optionMagic, 4);
  request.writeUInt32BE(optionGo, 12);
  request.writeUInt32BE(4 + bytes.length + 2, 16);
  request.writeUInt32BE(bytes.length, 20);
  bytes.copy(request, 24);
  return request;
}

/** Takes one option reply off the front of `bytes`, or null while it is not all there. */
function takeReply(
  bytes: Buffer,
): { readonly type: number; readonly data: Buffer; readonly rest: Buffer } | null {
  if (bytes.length < replyHeaderBytes) return null;
  const length = bytes.readUInt32BE(16);
  if (bytes.readBigUInt64BE(0) !== replyMagic || length > replyDataBytesMax)
    throw new Error("it does not speak NBD");
  const end = replyHeaderBytes + length;
  if (bytes.length < end) return null;
  return {
    type: bytes.readUInt32BE(12),
    data: bytes.subarray(replyHeaderBytes, end),
    rest: bytes.subarray(end),
  };
}

/** The client's side of the handshake: bytes in, and what is known after them. */
class Handshake {
  readonly #name: string;
  #received: Buffer = Buffer.alloc(0);
  #greeted = false;
  #sizeBytes: number | null = null;

  constructor(name: string) {
    this.#name = name;
  }

  /** The request to send now, the size once the server has told it, or null to wait for more. Throws what the server refuses. */
  take(chunk: Buffer): Buffer | number | null {
    this.#received = Buffer.concat([this.#received, chunk]);
    if (!this.#greeted) {
      if (this.#received.length < greetingBytes) return null;
      if (this.#received.readBigUInt64BE(8) !== optionMagic) throw new Error("it does not speak NBD");
      this.#greeted = true;
      this.#received = this.#received.subarray(greetingBytes);
      return goRequest(this.#name);
    }
    for (let reply = takeReply(this.#received); reply !== null; reply = takeReply(this.#received)) {
      this.#received = reply.rest;
      if (reply.type >= replyError)
        throw new Error(reply.data.toString("utf8") || `error ${reply.type - replyError}`);
      if (reply.type === replyInfo && reply.data.readUInt16BE(0) === infoExport) {
        this.#sizeBytes = Number(reply.data.readBigUInt64BE(2));
      }
      if (reply.type === replyAck) return this.#sizeBytes ?? -1;
    }
    return null;
  }
}

/** Size in bytes of export `name` at `address`. Rejects with `unavailable` saying why there is none. */
export function probeNbd(address: NetConnectOpts, name: string, timeoutMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const handshake = new Handshake(name);
    const socket = connect(address);
    const fail = (reason: string): void => {
      socket.destroy();
      reject(new TorusError("unavailable", `volume ${name} is not served yet: ${reason}`));
    };
    socket.on("data", (chunk) => {
      try {
        const step = handshake.take(chunk);
        if (typeof step === "number") {
          socket.destroy();
          resolve(step);
        } else if (step !== null) {
          socket.write(step);
        }
      } catch (error) {
        fail(messageOf(error));
      }
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      const early = error.code === "ENOENT" || error.code === "ECONNREFUSED";
      fail(early ? "the NBD server does not listen yet" : error.message);
    });
    socket.on("close", () => fail("the connection was closed"));
    socket.setTimeout(timeoutMs, () => fail("no answer"));
  });
}
