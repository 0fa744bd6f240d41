// PageSpan: the whole pages that a range of bytes lies in, and the range cut out of them.

import { pageBytes } from "#model";

export interface PageSpan {
  readonly first: number;
  readonly count: number;
  /** Of the range, in the pages. */
  readonly from: number;
  readonly length: number;
}

/** Of `length` bytes from `offset` on, at least one. */
export function spanOf(offset: number, length: number): PageSpan {
  const first = Math.floor(offset / pageBytes);
  const count = Math.ceil((offset + length) / pageBytes) - first;
  return { first, count, from: offset - first * pageBytes, length };
}

/** The range, of the span's pages. */
export function inSpan({ from, length }: PageSpan, pages: Uint8Array): Uint8Array {
  return length === pages.length ? pages : pages.subarray(from, from + length);
}
