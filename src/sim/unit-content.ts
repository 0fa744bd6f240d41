// The bytes tests write: a volume is cut into units of 512 bytes (a sector), and each unit's content says which value it is, of
// which unit of which volume. So whatever is read names the write it came from, or is damaged.

import { pageBytes } from "#model";

export const unitBytes = 512;
export const unitsPerPage = pageBytes / unitBytes;

const words = unitBytes / 4;

/** Writes `value` as the content of units [first, first + count) of `volume`; value 0 is zeroes. */
export function unitContent(volume: number, first: number, count: number, value: number): Uint8Array {
  const content = new Uint32Array(count * words);
  if (value !== 0) for (let i = 0; i < count; i++) fillUnit(content, i * words, volume, first + i, value);
  return new Uint8Array(content.buffer);
}

/** Who it is at both ends, and one word that says so in between: enough to notice any mixture, and quick to make. */
function fillUnit(target: Uint32Array, at: number, volume: number, unit: number, value: number): void {
  const end = at + words;
  target.fill((Math.imul(value, 0x9e3779b1) ^ Math.imul(unit + 1, 0x85ebca6b) ^ volume) | 0, at, end);
  target[at] = value;
  target[at + 1] = unit;
  target[at + 2] = volume;
  target[end - 1] = value;
  target[end - 2] = unit;
  target[end - 3] = volume;
}

const zeroUnit = new Uint8Array(unitBytes);
const expected = new Uint32Array(words);
const expectedBytes = new Uint8Array(expected.buffer);

/** The value of the unit at byte `at` of what was read; null when its bytes are nobody's. */
export function unitValue(bytes: Uint8Array, at: number, volume: number, unit: number): number | null {
  const found = bytes.subarray(at, at + unitBytes);
  if (Buffer.compare(found, zeroUnit) === 0) return 0;
  const value = new DataView(found.buffer, found.byteOffset).getUint32(0, true);
  fillUnit(expected, 0, volume, unit, value);
  return Buffer.compare(found, expectedBytes) === 0 ? value : null;
}
