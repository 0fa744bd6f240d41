// PageReader: pages of a volume from wherever the map says they are: a hole, a buffer of the log's window, or a block on its peers.
// Runs of pages that lie together are one read.

import type { Reader } from "#distributor";
import { pageBytes } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ExtentMap, Leaf } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import type { LogBlock } from "./write-log.ts";

export interface PageReaderDeps {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly windowBlock: (id: number) => LogBlock | undefined;
  readonly reader: Reader;
}

export class PageReader {
  readonly #deps: PageReaderDeps;

  constructor(deps: PageReaderDeps) {
    this.#deps = deps;
  }

  /** Pages [first, first + count) as they are in the map at one moment of the call, per leaf. */
  async read(first: number, count: number): Promise<Uint8Array> {
    const { map } = this.#deps;
    const whole = map.leafNow(first);
    const slot = first % leafPages;
    if (whole !== null && slot + count <= leafPages && isOneRun(whole, slot, count)) {
      const direct = this.#remoteRun(whole, slot, count);
      if (direct !== null) return direct;
    }
    const target = Buffer.allocUnsafe(count * pageBytes);
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

  /** One run that is on peers: its bytes need no copy. Null when it is a hole or in the window. */
  #remoteRun(leaf: Leaf, slot: number, count: number): Promise<Uint8Array> | null {
    const id = leaf.ids[slot];
    if (id === 0 || this.#deps.windowBlock(id) !== undefined) return null;
    const checksums = leaf.checksums.slice(slot, slot + count);
    return this.#deps.reader.readPages(
      this.#deps.table.ref(id),
      leaf.offsets[slot] * pageBytes,
      count * pageBytes,
      checksums,
    );
  }

  #readLeaf(leaf: Leaf, slot: number, count: number, target: Uint8Array, pending: Promise<void>[]): void {
    let run = 0;
    while (run < count) {
      let end = run + 1;
      while (end < count && continues(leaf, slot + end)) end += 1;
      const part = target.subarray(run * pageBytes, end * pageBytes);
      const id = leaf.ids[slot + run];
      const offset = leaf.offsets[slot + run] * pageBytes;
      if (id === 0) part.fill(0);
      else {
        const block = this.#deps.windowBlock(id);
        if (block !== undefined) part.set(block.buffer.subarray(offset, offset + part.length));
        else pending.push(this.#fetch(leaf, slot + run, end - run, part));
      }
      run = end;
    }
  }

  async #fetch(leaf: Leaf, slot: number, count: number, part: Uint8Array): Promise<void> {
    const checksums = leaf.checksums.slice(slot, slot + count);
    const ref = this.#deps.table.ref(leaf.ids[slot]);
    part.set(
      await this.#deps.reader.readPages(ref, leaf.offsets[slot] * pageBytes, count * pageBytes, checksums),
    );
  }
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
