// Records of a backup's target as text: one line of JSON, and its SHA-256 on the next, so that a record that was cut or changed is not taken for one.

import { createHash } from "node:crypto";
import { TorusError } from "#model";

const version = 1;

export type RecordKind = "repository" | "backup" | "unfinished" | "lock";

/** A field that is not there, or not what it should be, throws `corrupt`. Fields nobody asks for are let be. */
export class RecordFields {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #what: string;

  constructor(fields: Readonly<Record<string, unknown>>, what: string) {
    this.#fields = fields;
    this.#what = what;
  }

  text(name: string): string {
    const value = this.#fields[name];
    return typeof value === "string" && value.length > 0 && value.length <= 1000 ? value : this.#refuse(name);
  }

  textOrNull(name: string): string | null {
    return this.#fields[name] === null ? null : this.text(name);
  }

  count(name: string): number {
    const value = this.#fields[name];
    return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : this.#refuse(name);
  }

  record(name: string): RecordFields {
    const value = this.#fields[name];
    if (typeof value !== "object" || value === null) return this.#refuse(name);
    return new RecordFields(value as Readonly<Record<string, unknown>>, `${this.#what}: ${name}`);
  }

  list(name: string): readonly unknown[] {
    const value = this.#fields[name];
    return Array.isArray(value) ? value : this.#refuse(name);
  }

  #refuse(name: string): never {
    throw new TorusError("corrupt", `${this.#what} says nothing that can be of its ${name}`);
  }
}

export function encodeRecord(kind: RecordKind, fields: object): Uint8Array {
  const line = JSON.stringify({ format: "torus-backup", version, kind, ...fields });
  return Buffer.from(`${line}\n${digest(line)}\n`);
}

/** Throws `corrupt`, or `unsupported` for a later version. `what` names it in messages. */
export function decodeRecord(kind: RecordKind, bytes: Uint8Array, what: string): RecordFields {
  const [line, sum, end, ...more] = Buffer.from(bytes).toString("utf8").split("\n");
  if (end !== "" || more.length > 0 || sum !== digest(line))
    throw new TorusError("corrupt", `${what} is cut short or damaged: its checksum is another`);
  const fields = parse(line, what);
  if (fields["format"] !== "torus-backup" || fields["kind"] !== kind)
    throw new TorusError("corrupt", `${what} is no ${kind} record of a Torus backup`);
  if (fields["version"] !== version)
    throw new TorusError(
      "unsupported",
      `${what} has format ${String(fields["version"])}; this Torus reads ${version}`,
    );
  return new RecordFields(fields, what);
}

function parse(line: string, what: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "object" && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch {
    // Said below.
  }
  throw new TorusError("corrupt", `${what} is no JSON`);
}

function digest(line: string): string {
  return createHash("sha256").update(line).digest("hex");
}
