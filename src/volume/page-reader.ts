// PageReader: pages of a volume from wherever the map says they are: a hole, a buffer of the log's window, or a block on its peers.
// Runs of pages that lie together are one read. What needs no waiting is there when the call returns.

import type { Reader } from "#distributor";
import type { ReusedMemory } from "#host";
import type { TakeMemory } from "#model";
import { pageBytes } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ExtentMap, Leaf } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import type { BlockSpan } from "./read-ahead.ts";
import { ReadAhead } from "./read-ahead.ts";
import type { PageRun } from "./read-ahead-machine.ts";
import type { LogBlock } from "./write-log.ts";

export interface PageReaderDeps {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly windowBlock: (id: number) => LogBlock | undefined;
  readonly reader: Reader;
  /** For pieces of a read on their way into it. */
  readonly readMemory: ReusedMemory;
}

/** What is not wanted is read as well where it lies between what is: a header page, a page that was overwritten. */
const gapBytesMax = 4 * pageBytes;
const spanBytesMax = 1024 * 1024;

const freshMemory: TakeMemory = (bytes) => Buffer.allocUnsafe(bytes);

export class PageReader {
  readonly #deps: PageReaderDeps;
  readonly #ahead: ReadAhead;
  readonly #takePiece: TakeMemory;

  constructor(deps: PageReaderDeps) {
    this.#deps = deps;
    this.#ahead = new ReadAhead(deps);
    this.#takePiece = (bytes) => deps.readMemory.take(bytes);
  }

  /**
   * Pages [first, first + count) as they are in the map at one moment of the call, per leaf. They lie in what `take` gives, or in memory of
   * their own; after a failure parts of what was taken may still be written to.
   */
  read(first: number, count: number, take = freshMemory): Uint8Array | Promise<Uint8Array> {
    const reading = this.#read(first, count, take);
    const next = this.#ahead.note(first, count);
    if (next !== null) this.#readAhead(next);
    return reading;
  }

  #read(first: number, count: number, take: TakeMemory): Uint8Array | Promise<Uint8Array> {
    const leaf = this.#deps.map.leafNow(first);
    const slot = first % leafPages;
    if (leaf !== null && slot + count <= leafPages) {
      const id = leaf.ids[slot];
      if (id !== 0 && isOneRun(leaf, slot, count) && this.#deps.windowBlock(id) === undefined)
        return this.#remoteRun(leaf, slot, count, take, take);
      const target = take(count * pageBytes);
      const pending = this.#readLeaf(leaf, slot, count, target, []);
      return pending.length === 0 ? target : Promise.all(pending).then(() => target);
    }
    return this.#readLeaves(first, count, take(count * pageBytes));
  }

  async #readLeaves(first: number, count: number, target: Uint8Array): Promise<Uint8Array> {
    const { map } = this.#deps;
    const pending: Promise<void>[] = [];
    let done = 0;
    while (done < count) {
      const page = first + done;
      const leaf = map.leafNow(page) ?? (await map.load(page));
      const inLeaf = Math.min(leafPages - (page % leafPages), count - done);
      this.#readLeaf(leaf, page % leafPages, inLeaf, target.subarray(done * pageBytes), pending);
      done += inLeaf;
    }
    if (pending.length > 0) await Promise.all(pending);
    return target;
  }

  async #putPiece(part: Uint8Array, reading: Promise<Uint8Array>): Promise<void> {
    const piece = await reading;
    // It may have been there at once in the end.
    if (piece === part) return;
    part.set(piece);
    this.#deps.readMemory.give(piece);
  }

  /**
   * One run that is on peers: its bytes need no copy. `takeLater`: where they may lie if they have to be waited for. Several peers may
   * write there, at any time, so it gives other memory each time.
   */
  #remoteRun(
    leaf: Leaf,
    slot: number,
    count: number,
    take: TakeMemory,
    takeLater?: TakeMemory,
  ): Uint8Array | Promise<Uint8Array> {
    const { reader, table } = this.#deps;
    const ref = table.ref(leaf.ids[slot]);
    const offset = leaf.offsets[slot] * pageBytes;
    const now = reader.readPagesNow(ref, offset, count, leaf.checksums, slot, take);
    if (now !== null) return now;
    const under = this.#ahead.under(ref, offset, count);
    if (under === null) return reader.readPages(ref, offset, count, leaf.checksums, slot, takeLater);
    const expected = leaf.checksums.slice(slot, slot + count);
    return under.then(
      () =>
        reader.readPagesNow(ref, offset, count, expected, 0, take) ??
        reader.readPages(ref, offset, count, expected, 0, takeLater),
    );
  }

  /** `mayLoad`: also what of the map is not in memory. */
  #readAhead({ first, count }: PageRun, mayLoad = true): void {
    const { map, table } = this.#deps;
    let span: NumberedSpan | null = null;
    for (let page = first; page < first + count; page++) {
      const leaf = map.leafNow(page);
      if (leaf === null) {
        // It will be wanted soon anyway; whoever wants it then hears what goes wrong.
        if (mayLoad)
          void map.load(page).then(
            () => this.#readAhead({ first: page, count: first + count - page }, false),
            () => {},
          );
        break;
      }
      const slot = page % leafPages;
      const id = leaf.ids[slot];
      const offset = leaf.offsets[slot] * pageBytes;
      if (id === 0 || this.#deps.windowBlock(id) !== undefined) continue;
      if (span === null || span.id !== id || !isNear(span, offset)) {
        const ref = table.ref(id);
        if (this.#ahead.has(ref, offset)) continue;
        if (span !== null && !this.#ahead.fetch(span)) return;
        span = { id, ref, offsets: [], checksums: [] };
      }
      span.offsets.push(offset);
      span.checksums.push(leaf.checksums[slot]);
    }
    if (span !== null) this.#ahead.fetch(span);
  }

  /** Fills `target`; what has to be waited for is added to `pending`, which is returned. */
  #readLeaf(
    leaf: Leaf,
    slot: number,
    count: number,
    target: Uint8Array,
    pending: Promise<void>[],
  ): Promise<void>[] {
    let run = 0;
    while (run < count) {
      let end = run + 1;
      while (end < count && continues(leaf, slot + end)) end += 1;
      const part = target.subarray(run * pageBytes, end * pageBytes);
      const id = leaf.ids[slot + run];
      if (id === 0) part.fill(0);
      else {
        const block = this.#deps.windowBlock(id);
        const offset = leaf.offsets[slot + run] * pageBytes;
        if (block !== undefined) part.set(block.buffer.subarray(offset, offset + part.length));
        else {
          const bytes = this.#remoteRun(leaf, slot + run, end - run, () => part, this.#takePiece);
          if (bytes instanceof Promise) pending.push(this.#putPiece(part, bytes));
        }
      }
      run = end;
    }
    return pending;
  }
}

/** With the id of its block in the table. */
interface NumberedSpan extends BlockSpan {
  readonly id: number;
}

/** Little lies between the span and a page behind it. */
function isNear({ offsets }: BlockSpan, offset: number): boolean {
  const gap = offset - offsets[offsets.length - 1];
  return gap > 0 && gap <= gapBytesMax && offset - offsets[0] < spanBytesMax;
}

/** The page at `slot` lies right behind the one before it, or both are holes. */
function continues(leaf: Leaf, slot: number): boolean {
  const id = leaf.ids[slot];
  return id === leaf.ids[slot - 1] && (id === 0 || leaf.offsets[slot] === leaf.offsets[slot - 1] + 1);
}

function isOneRun(leaf: Leaf, slot: number, count: number): boolean {
  for (let i = 1; i < count; i++) if (!continues(leaf, slot + i)) return false;
  return true;
}
