// What has come in of the answer to one call, and what it amounts to when it ends.

import { messageOf } from "#model";
import type { ConnectionError } from "./connection-error.ts";
import { decodeStatus, type GrpcStatus, grpcStatus, type Headers, MessageReader } from "./grpc-codec.ts";
import { GrpcFailure, interrupted } from "./grpc-failure.ts";

/** RST_STREAM codes of HTTP/2 (RFC 9113 §7). */
const refusedStream = 7;

export class GrpcAnswer {
  readonly #reader = new MessageReader();
  #message: Uint8Array | null = null;
  #status: GrpcStatus | null = null;
  #problem: string | null = null;
  #error: ConnectionError | null = null;
  #settled = false;

  get settled(): boolean {
    return this.#settled;
  }

  /** False when it was before. */
  settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    return true;
  }

  headers(headers: Headers & { readonly ":status"?: number | string }): void {
    this.#status = decodeStatus(headers);
    const status = Number(headers[":status"]);
    const type = headers["content-type"];
    if (this.#status !== null) return;
    if (status !== 200 || typeof type !== "string" || !type.startsWith("application/grpc")) {
      this.#problem = `it answered with HTTP status ${status} and content type ${String(type)}: that is not etcd's client port`;
    }
  }

  trailers(headers: Headers): void {
    this.#status = decodeStatus(headers) ?? this.#status;
  }

  error(error: ConnectionError): void {
    this.#error = error;
  }

  /** A part of the one message of a unary answer; a failure when it is not one. */
  data(chunk: Uint8Array): GrpcFailure | null {
    if (this.#problem !== null) return null;
    try {
      for (const message of this.#reader.push(chunk)) {
        if (this.#message !== null) return interrupted("it sent two answers to one call");
        this.#message = message;
      }
      return null;
    } catch (error) {
      return interrupted(messageOf(error), error);
    }
  }

  /** Of a unary call that ended. */
  outcome(resetCode: number, connection: ConnectionError): Uint8Array | GrpcFailure {
    if (this.#status?.code === grpcStatus.ok && this.#message !== null && this.#reader.pendingBytes === 0) {
      return this.#message;
    }
    return this.ending(resetCode, connection);
  }

  /** Why a call or stream ended without what was asked for. */
  ending(resetCode: number, connection: ConnectionError): GrpcFailure {
    const status = this.#status;
    if (status !== null && status.code !== grpcStatus.ok) {
      return new GrpcFailure(status.code, status.message || `gRPC status ${status.code}`);
    }
    if (this.#problem !== null) return interrupted(this.#problem);
    if (status !== null) return interrupted("it ended the call without an answer");
    if (resetCode === refusedStream) {
      return new GrpcFailure(grpcStatus.unavailable, "it refused the call", { unsent: true });
    }
    const { text, lasting } = this.#error ?? connection;
    return new GrpcFailure(grpcStatus.unavailable, text, { lasting });
  }
}
