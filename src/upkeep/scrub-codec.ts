// Where a scrub is, as the text of a small file (docs/formats/store.md): {"format":1,"done":0.25,"asked":null,"after":{...}}. It saves work and
// decides over nothing, so text that is not understood is as good as none.

import type { BlockRef } from "#model";

export interface ScrubPlace {
  /** The last block that was looked at; null at the start of a round. */
  readonly after: BlockRef | null;
  /** How much of the round is done, from 0 to 1. */
  readonly done: number;
  /** What asked for the round; null when it is one of those that come by themselves. */
  readonly asked: string | null;
}

const format = 1;

export function encodeScrubPlace({ after, done, asked }: ScrubPlace): string {
  return `${JSON.stringify({ format, done, asked, after })}\n`;
}

/** null when it is not one. */
export function decodeScrubPlace(text: string): ScrubPlace | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const fields = fieldsOf(value);
  const { done } = fields;
  if (fields["format"] !== format || typeof done !== "number" || !(done >= 0 && done <= 1)) return null;
  const asked = typeof fields["asked"] === "string" ? fields["asked"] : null;
  if (fields["after"] === null) return { after: null, done, asked };
  const { type, volume, epoch, index } = fieldsOf(fields["after"]);
  if (!isCount(type) || !isCount(volume) || !isCount(epoch) || !isCount(index)) return null;
  return { after: { type, volume, epoch, index }, done, asked };
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
