// closed.json: what a store that was closed in order leaves for its next start: bytes <-> values. Two lines, a header with the
// checksum of the second, and the values.

import type { Epoch, VolumeId } from "#model";
import { crc32 } from "#model";
import { readEpochs } from "./fence-codec.ts";

export interface Closing {
  /** Of the life that ended so: it counts for the very next one only. */
  readonly incarnation: number;
  /** Up to which epoch something may have been lost, of volumes where it may. */
  readonly cuts: ReadonlyMap<VolumeId, Epoch>;
  /** What there was, in text: the next start must find the same. */
  readonly inventory: string;
}

const format = 1;

export function encodeClosing({ incarnation, cuts, inventory }: Closing): string {
  const body = JSON.stringify({ incarnation, cuts: [...cuts], inventory });
  return `${JSON.stringify({ format, checksum: crc32(Buffer.from(body)) })}\n${body}\n`;
}

/** Null for anything `encodeClosing` did not write. */
export function decodeClosing(text: string): Closing | null {
  const [head, body] = text.split("\n");
  try {
    const header = JSON.parse(head) as Record<string, unknown>;
    if (header["format"] !== format || header["checksum"] !== crc32(Buffer.from(body))) return null;
    const { incarnation, cuts, inventory } = JSON.parse(body) as Record<string, unknown>;
    const epochs = readEpochs(cuts);
    if (epochs === null || !Number.isSafeInteger(incarnation) || typeof inventory !== "string") return null;
    return { incarnation: incarnation as number, cuts: epochs, inventory };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
}
