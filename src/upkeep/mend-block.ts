// mendBlock: a block put together from copies that are all damaged, each in other pages. Of a page that copies have differently the
// content that most agree on is taken; where none is in front, each is tried until the whole has the checksum its
// writer gave it.
//
// A CRC is linear: what exchanging one page does to the sum of the block is a number of its own, and such numbers are XORed. So
// one sum for each content is enough, and trying out is arithmetic on 32 bits. The tries are bounded: at 4096 a wrong
// combination passes once in a million damaged blocks, and then still fails the sums of its pages or nodes when it is read.

import { assert, crc32, pageBytes } from "#model";

const triesMax = 4096;

interface OpenPage {
  readonly at: number;
  readonly contents: readonly Uint8Array[];
}

/** `copies` of one length; the bytes that have `checksum`, null when they are not to be found. */
export function mendBlock(copies: readonly Uint8Array[], checksum: number): Uint8Array | null {
  assert(
    copies.length > 0 && copies.every(({ length }) => length === copies[0].length),
    "copies of one block",
  );
  // Not slice(): that of a Buffer is the same memory.
  const mended = new Uint8Array(copies[0]);
  const open: OpenPage[] = [];
  let tries = 1;
  for (let at = 0; at < mended.length; at += pageBytes) {
    const contents = contentsOf(copies, at);
    mended.set(contents[0], at);
    if (contents.length === 1) continue;
    open.push({ at, contents });
    tries *= contents.length;
    if (tries > triesMax) return null;
  }
  const choices = choose(differences(mended, open), crc32(mended) ^ checksum);
  if (choices === null) return null;
  for (const [i, { at, contents }] of open.entries()) mended.set(contents[choices[i]], at);
  return crc32(mended) === checksum ? mended : null;
}

/** The contents of a page that may be right: the one that most copies have, or all when none is in front. */
function contentsOf(copies: readonly Uint8Array[], at: number): Uint8Array[] {
  const found: { readonly bytes: Uint8Array; copies: number }[] = [];
  for (const copy of copies) {
    const bytes = copy.subarray(at, at + pageBytes);
    const same = found.find((other) => Buffer.compare(other.bytes, bytes) === 0);
    if (same === undefined) found.push({ bytes, copies: 1 });
    else same.copies += 1;
  }
  found.sort((a, b) => b.copies - a.copies);
  const isDecided = found.length === 1 || found[0].copies > found[1].copies;
  return (isDecided ? found.slice(0, 1) : found).map(({ bytes }) => bytes);
}

/** For each open page, by how much each of its contents changes the sum of the whole. */
function differences(mended: Uint8Array, open: readonly OpenPage[]): number[][] {
  const sum = crc32(mended);
  return open.map(({ at, contents }) => {
    const changes = contents.map((content) => {
      mended.set(content, at);
      return crc32(mended) ^ sum;
    });
    mended.set(contents[0], at);
    return changes;
  });
}

/** One content for each page, so that the sum changes by `wanted`; null when there is none. */
function choose(changes: readonly (readonly number[])[], wanted: number): number[] | null {
  const choices = changes.map(() => 0);
  for (;;) {
    const change = choices.reduce((sum, choice, i) => sum ^ changes[i][choice], 0);
    if (change === wanted) return choices;
    let i = 0;
    while (i < choices.length && choices[i] === changes[i].length - 1) {
      choices[i] = 0;
      i += 1;
    }
    if (i === choices.length) return null;
    choices[i] += 1;
  }
}
