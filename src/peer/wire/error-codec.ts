// Errors in answers: the code's number as the frame's status, message and details as arguments.
//
//   0  u16  bytes of the message      2  u16  bytes of the details      4  message, then details as JSON, both UTF-8
//
// Numbers are never reused. A number that is not known here comes from a newer peer and decodes as `protocol`.

import type { ErrorCode, ErrorDetails } from "#model";
import { TorusError } from "#model";
import type { FrameScratch } from "./frame-codec.ts";
import { errorBytesMax, frameHeaderBytes } from "./frame-codec.ts";

// biome-ignore format: a table
export const errorNumbers: Readonly<Record<ErrorCode, number>> = {
  "invalid-argument": 1, "not-found": 2, "already-exists": 3, busy: 4, fenced: 5,
  conflict: 6, unavailable: 7, timeout: 8, corrupt: 9, full: 10,
  mismatch: 11, "out-of-order": 12, closed: 13, "attachment-lost": 14, unsupported: 15,
  protocol: 16, io: 17, poisoned: 18, incomplete: 19, limit: 20,
  "metadata-behind": 21,
};

const codesByNumber = new Map(
  Object.entries(errorNumbers).map(([code, number]) => [number, code as ErrorCode]),
);

const messageBytesMax = 2048;
const detailsBytesMax = errorBytesMax - messageBytesMax - 4;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The code of a number from the wire, or null when it is of a newer peer. */
export function errorCodeOf(number: number): ErrorCode | null {
  return codesByNumber.get(number) ?? null;
}

/** Encodes the arguments of an error answer into `scratch`; returns their length. The status is `errorNumbers[error.code]`. */
export function encodeError(scratch: FrameScratch, error: TorusError): number {
  scratch.reserve(errorBytesMax);
  const { bytes, view } = scratch;
  const at = frameHeaderBytes;
  const message = encoder.encodeInto(error.message, bytes.subarray(at + 4, at + 4 + messageBytesMax)).written;
  let details = encoder.encode(JSON.stringify(error.details));
  if (details.length > detailsBytesMax) details = encoder.encode("{}");
  bytes.set(details, at + 4 + message);
  view.setUint16(at, message, true);
  view.setUint16(at + 2, details.length, true);
  return 4 + message + details.length;
}

/** The error of an answer with `status`. Throws `protocol` when its arguments are not as `encodeError` makes them. */
export function decodeError(status: number, view: DataView, at: number, argumentBytes: number): TorusError {
  const messageBytes = argumentBytes < 4 ? 0 : view.getUint16(at, true);
  const detailsBytes = argumentBytes < 4 ? 0 : view.getUint16(at + 2, true);
  if (argumentBytes < 4 || 4 + messageBytes + detailsBytes !== argumentBytes) {
    throw new TorusError("protocol", "an error answer does not have the length it names");
  }
  const message = decoder.decode(new Uint8Array(view.buffer, view.byteOffset + at + 4, messageBytes));
  const json = decoder.decode(
    new Uint8Array(view.buffer, view.byteOffset + at + 4 + messageBytes, detailsBytes),
  );
  const code = errorCodeOf(status);
  if (code === null) {
    return new TorusError("protocol", `an error this version does not know (number ${status}): ${message}`);
  }
  return new TorusError(code, message, decodeDetails(json));
}

function decodeDetails(json: string): ErrorDetails {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = null;
  }
  if (typeof value !== "object" || value === null || !Object.values(value).every(isDetail)) {
    throw new TorusError("protocol", "an error answer has details that are not ours");
  }
  return value as ErrorDetails;
}

function isDetail(value: unknown): boolean {
  if (Array.isArray(value)) return value.every((item) => typeof item === "string");
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}
