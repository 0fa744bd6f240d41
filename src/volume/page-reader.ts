// PageReader: pages of a volume from wherever the map says they are: a hole, a buffer of the log's window, or a block on its peers.
// Runs of pages that lie together are one read. What needs no waiting is there when the call returns.

import type { Reader } from "#distributor";
import type { TakeMemory } from "#model";
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

const freshMemory: TakeMemory = (bytes) => Buffer.allocUnsafe(bytes);

export class PageReader {
  readonly #deps: PageReaderDeps;

  constructor(deps: PageReaderDeps) {
    this.#deps = deps;
  }

  /**
   * Pages [first, first + count) as they are in the map at one moment of the call, per leaf. They lie in what `take` gives, or in memory of
   * their own; after a failure parts of what was taken may still be written to.
   */
  read(first: number, count: number, take = freshMemory): Uint8Array | Promise<Uint8Array> {
    const leaf = this.#deps.map.leafNow(first);
    const slot = first % leafPages;
    if (leaf !== null && slot + count <= leafPages) {
      const id = leaf.ids[slot];
      if (id !== 0 && isOneRun(leaf, slot, count) && this.#deps.windowBlock(id) === undefined)
        return this.#remoteRun(leaf, slot, count, take);
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

  /** One run that is on peers: its bytes need no copy. */
  #remoteRun(leaf: Leaf, slot: number, count: number, take: TakeMemory): Uint8Array | Promise<Uint8Array> {
    const { reader, table } = this.#deps;
    const ref = table.ref(leaf.ids[slot]);
    const offset = leaf.offsets[slot] * pageBytes;
    return (
      reader.readPagesNow(ref, offset, count, leaf.checksums, slot, take) ??
      reader.readPages(ref, offset, count, leaf.checksums, slot)
    );
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
          const bytes = this.#remoteRun(leaf, slot + run, end - run, () => part);
          if (bytes instanceof Promise) pending.push(bytes.then((read) => part.set(read)));
        }
      }
      run = end;
    }
    return pending;
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
