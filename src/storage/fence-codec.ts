// The fence state on disk: bytes <-> values. An entry of fences.log says that a volume's epoch was raised (32 bytes, within
// one sector); fences.json holds the highest epoch of every volume up to some moment. The state is the maximum over both,
// so entries may repeat and stand in any order.
//
//   0 u32 magic "TFEN"   4 u32 CRC-32 of what follows and the place   8 u64 volume   16 u64 epoch   24 u64 zero

import type { Epoch, VolumeId } from "#model";
import { crc32, readUint64, TorusError, volumeIdMax } from "#model";

export const fenceEntryBytes = 32;
const magic = 0x4e454654; // "TFEN"
const format = 1;

export interface FenceEntry {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
}

function checksumOf(bytes: Uint8Array, at: number): number {
  return crc32(bytes.subarray(at + 8, at + fenceEntryBytes));
}

export function encodeFenceEntry(entry: FenceEntry, target: Uint8Array, at: number): void {
  const view = new DataView(target.buffer, target.byteOffset + at, fenceEntryBytes);
  view.setUint32(0, magic, true);
  view.setUint32(8, entry.volume >>> 0, true);
  view.setUint32(12, Math.floor(entry.volume / 2 ** 32), true);
  view.setUint32(16, entry.epoch >>> 0, true);
  view.setUint32(20, Math.floor(entry.epoch / 2 ** 32), true);
  view.setUint32(24, 0, true);
  view.setUint32(28, 0, true);
  view.setUint32(4, checksumOf(target, at), true);
}

export function decodeFenceEntry(source: Uint8Array, at: number): FenceEntry | "unused" | "damaged" {
  const view = new DataView(source.buffer, source.byteOffset + at, fenceEntryBytes);
  let zero = true;
  for (let i = 0; i < fenceEntryBytes && zero; i += 4) zero = view.getUint32(i, true) === 0;
  if (zero) return "unused";
  if (view.getUint32(0, true) !== magic || view.getUint32(4, true) !== checksumOf(source, at))
    return "damaged";
  return {
    volume: readUint64(view, 8),
    epoch: readUint64(view, 16),
  };
}

/** The text of fences.json. */
export function encodeFences(epochs: ReadonlyMap<VolumeId, Epoch>): string {
  const body = JSON.stringify([...epochs]);
  return `${JSON.stringify({ format, checksum: crc32(Buffer.from(body)) })}\n${body}\n`;
}

/** Throws `corrupt` for anything `encodeFences` did not write, `unsupported` for another format. */
export function decodeFences(text: string): Map<VolumeId, Epoch> {
  const [head, body] = text.split("\n");
  const damaged = new TorusError("corrupt", "fences.json does not match its checksum");
  let header: unknown;
  let pairs: unknown;
  try {
    header = JSON.parse(head);
    pairs = JSON.parse(body);
  } catch (cause) {
    throw new TorusError(damaged.code, damaged.message, {}, { cause });
  }
  if (!isRecord(header)) throw damaged;
  if (header["format"] !== format) {
    throw new TorusError(
      "unsupported",
      `fences.json has format ${header["format"]}, this version reads ${format}`,
    );
  }
  if (header["checksum"] !== crc32(Buffer.from(body))) throw damaged;
  const epochs = readEpochs(pairs);
  if (epochs === null) throw damaged;
  return epochs;
}

/** [[volume, epoch], ...] as a map; null when it is anything else. */
export function readEpochs(pairs: unknown): Map<VolumeId, Epoch> | null {
  if (!Array.isArray(pairs)) return null;
  const epochs = new Map<VolumeId, Epoch>();
  for (const pair of pairs) {
    if (!Array.isArray(pair) || !isNumber(pair[0], volumeIdMax) || !isNumber(pair[1], 2 ** 53 - 1))
      return null;
    epochs.set(pair[0], pair[1]);
  }
  return epochs;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isNumber(value: unknown, max: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max;
}
