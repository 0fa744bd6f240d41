// Why a call got no answer, and what is known of its outcome. `unsent`: certainly nothing of it happened; that is the case
// when no connection stood, or when the server said that it did not look at it. Everything else may have happened.

import { grpcStatus } from "./grpc-codec.ts";

export class GrpcFailure extends Error {
  override readonly name = "GrpcFailure";
  /** A gRPC status; of failures on our side `unavailable` or `deadlineExceeded`. */
  readonly code: number;
  readonly unsent: boolean;
  /** It will be no better soon: a certificate that is not trusted, a file that is not there. */
  readonly lasting: boolean;

  constructor(
    code: number,
    message: string,
    options: { readonly unsent?: boolean; readonly lasting?: boolean; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.unsent = options.unsent ?? false;
    this.lasting = options.lasting ?? false;
  }
}

export function unsent(message: string, cause?: unknown): GrpcFailure {
  return new GrpcFailure(grpcStatus.unavailable, message, { unsent: true, cause });
}

export function interrupted(message: string, cause?: unknown): GrpcFailure {
  return new GrpcFailure(grpcStatus.unavailable, message, { cause });
}
