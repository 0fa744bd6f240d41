// The fence state on disk: bytes <-> values. An entry of fences.log says that a volume's epoch was raised, or that it was found to have served
// (32 bytes, within one sector); fences.json holds the highest of both for every volume up to some moment. The state is the maximum over all,
// so entries may repeat and stand in any order.
//
//   0 u32 magic "TFEN"   4 u32 CRC-32 of what follows   8 u64 volume   16 u64 epoch   24 u64 served epoch (0: none; entries of old)

import type { Epoch, VolumeId } from "#model";
import { crc32, readUint64, TorusError, volumeIdMax } from "#model";

export const fenceEntryBytes = 32;
const magic = 0x4e454654; // "TFEN"
/** 1: [[volume, epoch], …]. 2: the served epoch of a volume may follow. */
const format = 2;
const formatMin = 1;

export interface FenceEntry {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  /** The highest epoch known to have served, 0 for none. */
  readonly servedEpoch: Epoch;
}

/** Of every volume that has any. */
export interface FenceState {
  readonly epochs: Map<VolumeId, Epoch>;
  readonly served: Map<VolumeId, Epoch>;
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
  view.setUint32(24, entry.servedEpoch >>> 0, true);
  view.setUint32(28, Math.floor(entry.servedEpoch / 2 ** 32), true);
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
    servedEpoch: readUint64(view, 24),
  };
}

/** The text of fences.json. */
export function encodeFences({ epochs, served }: FenceState): string {
  const volumes = new Set([...epochs.keys(), ...served.keys()]);
  const entries = [...volumes].map((volume) => {
    const [epoch, servedEpoch] = [epochs.get(volume) ?? 0, served.get(volume) ?? 0];
    return servedEpoch === 0 ? [volume, epoch] : [volume, epoch, servedEpoch];
  });
  const body = JSON.stringify(entries);
  return `${JSON.stringify({ format, checksum: crc32(Buffer.from(body)) })}\n${body}\n`;
}

/** Throws `corrupt` for anything `encodeFences` did not write, `unsupported` for another format. */
export function decodeFences(text: string): FenceState {
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
  if (header["format"] !== format && header["format"] !== formatMin) {
    throw new TorusError(
      "unsupported",
      `fences.json has format ${header["format"]}, this version reads ${formatMin} to ${format}`,
    );
  }
  if (header["checksum"] !== crc32(Buffer.from(body))) throw damaged;
  const epochs = readEpochs(pairs);
  const served = readEpochs(servedIn(pairs));
  if (epochs === null || served === null) throw damaged;
  for (const [volume, epoch] of epochs) if (epoch === 0) epochs.delete(volume);
  return { epochs, served };
}

/** [[volume, served epoch], ...] of the entries that have one. */
function servedIn(entries: unknown): unknown {
  if (!Array.isArray(entries)) return null;
  return entries.flatMap((entry) => (Array.isArray(entry) && entry.length > 2 ? [[entry[0], entry[2]]] : []));
}

/** [[volume, epoch, ...], ...] as a map; null when it is anything else. */
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
