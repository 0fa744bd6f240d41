// The error catalogue: one class, a closed set of codes. A gateway maps codes to its dialect by an
// exhaustive switch, so a new code does not compile until every dialect answers it.

export const errorCodes = [
  "invalid-argument", // the caller's value is wrong: says which and what is allowed
  "not-found", // no such volume, export, peer, block
  "already-exists", // the name is taken
  "busy", // the volume has a live writer, the port or directory is in use
  "fenced", // a newer epoch exists: this writer's time is over
  "conflict", // a guarded transaction found something else; read again and decide again
  "unavailable", // a peer or the metadata service cannot be reached; may work later
  "timeout", // no answer within the deadline; the outcome is unknown
  "corrupt", // bytes do not match their checksum
  "full", // no space for new data
  "mismatch", // bytes differ from those already held for the same place
  "out-of-order", // an append does not continue what is held; details.held says where it ends
  "closed", // the object was closed
  "attachment-lost", // a write could not be made durable or the lease is gone: attach anew
  "unsupported", // understood and not offered
  "protocol", // the other side does not speak our protocol, or broke it
  "io", // the disk failed
  "poisoned", // the store saw an error of fdatasync and reports nothing as durable until restart
  "incomplete", // recovery will not guess: details.waitingFor names the peers it needs
  "limit", // a named limit was reached
  "metadata-behind", // the metadata went back (restored from a backup?): nothing is changed until `torusctl metadata adopt`
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export type ErrorDetails = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** What every room throws. `message` says what is wrong, with which value, and what to do. */
export class TorusError extends Error {
  override readonly name = "TorusError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

export function isTorusError(error: unknown, ...codes: ErrorCode[]): error is TorusError {
  return error instanceof TorusError && (codes.length === 0 || codes.includes(error.code));
}

/** The message of anything thrown, for logs and for people. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
