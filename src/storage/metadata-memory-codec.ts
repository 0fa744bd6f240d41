// metadata.json: text <-> what a store remembers of the metadata service. Two lines: {"format": 1, "checksum": CRC-32 of the second line}, and
// the memory. Anything else is `corrupt`: a memory that lost something would let metadata of yesterday in.

import type { MetadataView } from "#model";
import { crc32, messageOf, TorusError, volumeIdMax } from "#model";
import type { MetadataKept, RevisionMark } from "./metadata-memory-machine.ts";

const format = 1;
const textCharsMax = 4096;

export function encodeMemory(kept: MetadataKept): string {
  const { view, behind, asOfMs, marks } = kept;
  const body = JSON.stringify({
    view,
    behind,
    asOfMs,
    marks: marks.map(({ revision, timeMs }) => [revision, timeMs]),
  });
  return `${JSON.stringify({ format, checksum: crc32(Buffer.from(body)) })}\n${body}\n`;
}

/** Throws `corrupt` for anything `encodeMemory` did not write, `unsupported` for another format. */
export function decodeMemory(text: string): MetadataKept {
  const [head, body] = text.split("\n");
  try {
    const header = fieldsOf(JSON.parse(head));
    if (header["format"] !== format) {
      throw new TorusError(
        "unsupported",
        `metadata.json has format ${String(header["format"])}, this version reads ${format}`,
      );
    }
    if (header["checksum"] !== crc32(Buffer.from(body ?? ""))) throw new Error("its checksum is wrong");
    const fields = fieldsOf(JSON.parse(body));
    const marks = fields["marks"];
    if (!Array.isArray(marks)) throw new Error("it has no marks");
    return {
      view: fields["view"] === null ? null : decodeView(fieldsOf(fields["view"])),
      behind: textIn(fields, "behind"),
      asOfMs: numberIn(fields, "asOfMs"),
      marks: marks.map(decodeMark),
    };
  } catch (cause) {
    if (cause instanceof TorusError) throw cause;
    throw new TorusError(
      "corrupt",
      `metadata.json is damaged: ${messageOf(cause)}. Without it this peer would take metadata that went back for good: see docs/operate/metadata.md`,
      {},
      { cause },
    );
  }
}

function decodeView(fields: Record<string, unknown>): MetadataView {
  return {
    clusterId: textIn(fields, "clusterId"),
    identity: textIn(fields, "identity"),
    generation: numberIn(fields, "generation"),
    revision: numberIn(fields, "revision"),
    ringVersion: numberIn(fields, "ringVersion"),
    lastVolumeId: numberIn(fields, "lastVolumeId", volumeIdMax),
  };
}

function decodeMark(value: unknown): RevisionMark {
  const [revision, timeMs] = Array.isArray(value) ? value : [];
  const fields = { revision, timeMs };
  return { revision: numberIn(fields, "revision"), timeMs: numberIn(fields, "timeMs") };
}

function fieldsOf(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error("it is not an object");
  return value as Record<string, unknown>;
}

function textIn(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value === "string" && value.length <= textCharsMax) return value;
  throw new Error(`it has no ${name}`);
}

function numberIn(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  max = Number.MAX_SAFE_INTEGER,
): number {
  const value = fields[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max) return value;
  throw new Error(`it has no ${name}`);
}
