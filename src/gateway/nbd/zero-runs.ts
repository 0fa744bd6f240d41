// ZeroRuns: where the data of a READ is zero for long enough that a hole is told instead.

/** Zeroes are looked for in pieces of this size, from the first byte on. */
const pieceBytes = 4096;
/** A shorter run of zeroes is data: a chunk of its own would cost more than it saves. */
const holeBytesMin = 16 * 1024;

const zeroes = Buffer.alloc(pieceBytes);

/** Calls `visit` for data and holes in turn, in order, until all of `data` was named. `whole`: as one, a hole only when all of it is zero. */
export function eachRun(
  data: Uint8Array,
  whole: boolean,
  visit: (start: number, end: number, isHole: boolean) => void,
): void {
  const isOne = whole || data.length < holeBytesMin;
  if (isOne && data[0] !== 0) {
    visit(0, data.length, false);
    return;
  }
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
  if (isOne) {
    visit(0, bytes.length, endOfZeroes(bytes, 0) === bytes.length);
    return;
  }
  let start = 0;
  let at = 0;
  while (at < bytes.length) {
    const end = endOfZeroes(bytes, at);
    if (end - at >= holeBytesMin || (at === 0 && end === bytes.length)) {
      if (at > start) visit(start, at, false);
      visit(at, end, true);
      start = end;
    }
    at = end > at ? end : at + pieceBytes;
  }
  if (start < bytes.length) visit(start, bytes.length, false);
}

/** Where the pieces of zeroes that begin at `at` end. */
function endOfZeroes(bytes: Buffer, at: number): number {
  let end = at;
  while (end < bytes.length) {
    const next = Math.min(bytes.length, end + pieceBytes);
    // Most data shows in its first byte what it is.
    if (bytes[end] !== 0 || bytes.compare(zeroes, 0, next - end, end, next) !== 0) break;
    end = next;
  }
  return end;
}
