// Sizes as people write and read them.

import { TorusError } from "./errors.ts";

// biome-ignore format: a table
const unitBytes: Readonly<Record<string, number>> = {
  "": 1, B: 1,
  K: 2 ** 10, KIB: 2 ** 10, KB: 1e3,
  M: 2 ** 20, MIB: 2 ** 20, MB: 1e6,
  G: 2 ** 30, GIB: 2 ** 30, GB: 1e9,
  T: 2 ** 40, TIB: 2 ** 40, TB: 1e12,
  P: 2 ** 50, PIB: 2 ** 50, PB: 1e15,
};

/**
 * Bytes of `text`: a number and a unit, such as 512, 20GiB, 1.5TiB, 10GB (decimal), 4M (binary, as qemu has it).
 * Throws `invalid-argument` naming `what` for anything else, for zero or less, and for fractions of a byte.
 */
export function parseBytes(text: string, what: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  const unit = match === null ? undefined : unitBytes[match[2].toUpperCase()];
  const bytes = match === null || unit === undefined ? Number.NaN : Number(match[1]) * unit;
  if (Number.isFinite(bytes) && bytes > Number.MAX_SAFE_INTEGER) {
    throw new TorusError("invalid-argument", `${what} "${text}" is too large: nothing here is above 8 PiB`);
  }
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new TorusError(
      "invalid-argument",
      `${what} "${text}" is not a size: use a number above zero and a unit, such as 512MiB, 20GiB or 1.5TiB`,
    );
  }
  return bytes;
}

const binaryUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const decimalUnits = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** `bytes` with three significant digits at most after the point trimmed: 4.0 MiB, 512 B; `si` for powers of 1000. */
export function formatBytes(bytes: number, si = false): string {
  const base = si ? 1000 : 1024;
  const units = si ? decimalUnits : binaryUnits;
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= base && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
