// gRPC over HTTP/2 (github.com/grpc/grpc: PROTOCOL-HTTP2.md), as bytes and headers: messages with a five-byte head, the
// deadline, the status. Uncompressed only: nothing else is announced, so nothing else may come.

import { TorusError } from "#model";

/** The codes that mean something here; others stand for themselves as numbers. */
export const grpcStatus = {
  ok: 0,
  canceled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

const headBytes = 5;
/** No answer is larger: all metadata of a hundred thousand volumes fits. */
export const messageBytesMax = 512 * 1024 * 1024;
/** What a server may say in a status. */
const statusCharsMax = 1024;

export function encodeMessage(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(headBytes + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, headBytes);
  return frame;
}

/** `grpc-timeout`: at most eight digits and a unit. */
export function encodeTimeout(timeoutMs: number): string {
  return `${Math.min(99_999_999, Math.max(1, Math.ceil(timeoutMs)))}m`;
}

/** Cuts a stream of bytes into messages. */
export class MessageReader {
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  /** The messages that `chunk` completes. Throws `protocol`. */
  push(chunk: Uint8Array): Uint8Array[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const messages: Uint8Array[] = [];
    for (let length = this.#nextLength(); length !== null; length = this.#nextLength()) {
      messages.push(this.#take(headBytes + length).subarray(headBytes));
    }
    return messages;
  }

  /** Bytes of a message that is not complete. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /** Of the next message, when all of it is there. */
  #nextLength(): number | null {
    if (this.#bytes < headBytes) return null;
    const head = this.#chunks[0].length >= headBytes ? this.#chunks[0] : this.#join();
    if (head[0] !== 0) throw new TorusError("protocol", `a gRPC message has flags ${head[0]}, not 0`);
    const length = ((head[1] << 24) | (head[2] << 16) | (head[3] << 8) | head[4]) >>> 0;
    if (length > messageBytesMax) {
      throw new TorusError("protocol", `a gRPC message of ${length} bytes; the limit is ${messageBytesMax}`);
    }
    return this.#bytes >= headBytes + length ? length : null;
  }

  #take(bytes: number): Uint8Array {
    const all = this.#chunks[0].length >= bytes ? this.#chunks[0] : this.#join();
    if (all.length === bytes) this.#chunks.shift();
    else this.#chunks[0] = all.subarray(bytes);
    this.#bytes -= bytes;
    return all.subarray(0, bytes);
  }

  /** All chunks as one: a message of many chunks is joined once, when its last one is there (and once more for its head). */
  #join(): Uint8Array {
    const all = new Uint8Array(this.#bytes);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    this.#chunks = [all];
    return all;
  }
}

export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
}

/** From a name of a header to its value. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** The status in trailers, or in the headers of an answer without a body; null when there is none. */
export function decodeStatus(headers: Headers): GrpcStatus | null {
  const code = headers["grpc-status"];
  if (typeof code !== "string" || !/^\d{1,4}$/.test(code)) return null;
  const message = headers["grpc-message"];
  return { code: Number(code), message: typeof message === "string" ? decodePercent(message) : "" };
}

/** Percent-encoded UTF-8; what is wrong in it stays as it is. */
function decodePercent(text: string): string {
  const cut = text.slice(0, statusCharsMax);
  try {
    return decodeURIComponent(cut);
  } catch {
    return cut;
  }
}
