// Which pages of some bytes have something else than zeroes in them.

import { pageBytes } from "#model";

const zeroPage = Buffer.alloc(pageBytes);

export interface ByteRun {
  readonly start: number;
  readonly end: number;
  readonly isZero: boolean;
}

/** The bytes as runs of whole pages that are zero, and that are not, by turns. The last page may be cut short. */
export function zeroRuns(bytes: Uint8Array): ByteRun[] {
  const runs: { start: number; end: number; isZero: boolean }[] = [];
  for (let start = 0; start < bytes.length; start += pageBytes) {
    const end = Math.min(start + pageBytes, bytes.length);
    const isZero = zeroPage.compare(bytes, start, end, 0, end - start) === 0;
    const last = runs.at(-1);
    if (last?.isZero === isZero) last.end = end;
    else runs.push({ start, end, isZero });
  }
  return runs;
}

export function isAllZero(bytes: Uint8Array): boolean {
  for (let start = 0; start < bytes.length; start += pageBytes) {
    const end = Math.min(start + pageBytes, bytes.length);
    if (zeroPage.compare(bytes, start, end, 0, end - start) !== 0) return false;
  }
  return true;
}
