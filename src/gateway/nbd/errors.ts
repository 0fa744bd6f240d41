// Torus's error codes in NBD's words: one function for requests, one for options. Both are exhaustive, so a new
// code does not compile until it is answered here. The rule of doubt: EIO, never success.

import type { ErrorCode } from "#model";
import { unreachable } from "#model";
import type { OptionReplyType } from "./nbd-codec.ts";
import { reply } from "./nbd-codec.ts";

/** The error values the protocol defines. */
export const errno = {
  none: 0,
  permission: 1, // NBD_EPERM
  io: 5, // NBD_EIO
  invalid: 22, // NBD_EINVAL
  noSpace: 28, // NBD_ENOSPC
  shutdown: 108, // NBD_ESHUTDOWN
} as const;

/** What a request that failed with `code` is answered with. */
export function requestErrno(code: ErrorCode): number {
  switch (code) {
    case "invalid-argument":
    case "unsupported":
      return errno.invalid;
    case "full":
      return errno.noSpace;
    case "closed":
      return errno.shutdown;
    case "not-found": // data that should be there is not: no fault of the request
    case "already-exists":
    case "busy":
    case "fenced":
    case "conflict":
    case "unavailable":
    case "timeout":
    case "corrupt":
    case "mismatch":
    case "out-of-order":
    case "attachment-lost":
    case "protocol":
    case "io":
    case "poisoned":
    case "incomplete":
    case "limit":
    case "metadata-behind":
      return errno.io;
    default:
      return unreachable(code);
  }
}

/** What LIST, INFO and GO are answered with when the catalogue failed with `code`; the message goes along. */
export function optionErrorReply(code: ErrorCode): OptionReplyType {
  switch (code) {
    case "invalid-argument":
      return reply.errorInvalid;
    case "closed":
      return reply.errorShutdown;
    case "busy": // "denied by the server": the export exists and somebody else has it
    case "fenced":
    case "conflict":
    case "limit":
    case "attachment-lost": // its clients of before were cut off, and nobody can be told from them
      return reply.errorPolicy;
    case "not-found": // "not available", for good or for now
    case "unsupported":
    case "full":
    case "already-exists":
    case "unavailable":
    case "timeout":
    case "corrupt":
    case "mismatch":
    case "out-of-order":
    case "protocol":
    case "io":
    case "poisoned":
    case "incomplete":
    case "metadata-behind":
      return reply.errorUnknown;
    default:
      return unreachable(code);
  }
}
