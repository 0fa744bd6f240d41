// NeededHere: which of a peer's own blocks the kept INodes need. An INode never changes, so what one needs of the blocks here is remembered from pass to
// pass, and one that was walked before costs nothing: a pass reads only the INodes that are new, whatever the cluster has besides.
//
// What is remembered of an INode tells of the blocks that were listed when it was walked, and of no others. So it holds only as long as no block has
// come here since that it may name and that could be found dead: of a volume of which it names blocks at all, as it said itself when it was
// walked. (Not by what the metadata says of clones: a mistake there must not cost a block.) Else it is walked anew. Memory is bounded;
// an INode that does not fit is walked in each pass. What a pass found counts from when that pass has ended well.

import type { Clock } from "#host";
import { sleep } from "#host";
import type { NodePointer } from "#metadata";
import type { BlockRef, VolumeId } from "#model";
import type { NeededBlocks } from "#volume";
import { nodeKey } from "#volume";
import type { CollectPass } from "./collect-machine.ts";

export interface NeededHereDeps {
  readonly needed: Pick<NeededBlocks, "walk">;
  readonly clock: Clock;
}

/** What an INode needs here. */
interface Memo {
  /** In which it was walked. */
  readonly pass: number;
  /** The volume of which it names blocks, here or elsewhere; several for a clone's. */
  readonly volumes: VolumeId | readonly VolumeId[];
  /** Type, volume, epoch, index of each block. */
  readonly refs: Float64Array;
  /** The last mark that had a place for it. */
  keptBy: number;
}

const numbersPerRef = 4;
const memoBytes = 200;
/** Blocks that are marked in one turn. */
const marksAtOnce = 20_000;

export class NeededHere {
  readonly #bytesMax: number;
  readonly #deps: NeededHereDeps;
  readonly #memos = new Map<string, Memo>();
  /** Of the pass under way: what was walked in it. */
  #fresh = new Map<string, Memo>();
  #marks = 0;
  #keptBytes = 0;
  #walked = 0;

  constructor(options: { readonly memoryBytesMax: number }, deps: NeededHereDeps) {
    this.#bytesMax = options.memoryBytesMax;
    this.#deps = deps;
  }

  /** INodes that were walked in the last pass. */
  get walked(): number {
    return this.#walked;
  }

  /** Tells `pass` of every block listed that the INodes at `roots` need. Rejects when any of it cannot be read. */
  async mark(
    pass: CollectPass,
    roots: readonly NodePointer[],
    readNode: (pointer: NodePointer) => Promise<Uint8Array>,
  ): Promise<void> {
    this.#fresh = new Map();
    this.#marks += 1;
    this.#keptBytes = 0;
    this.#walked = 0;
    let marks = 0;
    for (const root of roots) {
      const key = nodeKey(root);
      const known = this.#memos.get(key);
      const holds = known !== undefined && isOf(known, pass);
      const memo = holds ? known : await this.#walk(pass, root, readNode);
      if (holds) markAll(memo.refs, pass);
      else this.#fresh.set(key, memo);
      this.#keep(memo);
      marks += memo.refs.length / numbersPerRef;
      if (marks < marksAtOnce) continue;
      marks = 0;
      await sleep(this.#deps.clock, 0);
    }
  }

  /** The pass that `mark` was called for has ended well. */
  commit(): void {
    for (const [key, memo] of this.#memos) if (memo.keptBy !== this.#marks) this.#memos.delete(key);
    for (const [key, memo] of this.#fresh) if (memo.keptBy === this.#marks) this.#memos.set(key, memo);
    this.#fresh = new Map();
  }

  async #walk(
    pass: CollectPass,
    root: NodePointer,
    readNode: (pointer: NodePointer) => Promise<Uint8Array>,
  ): Promise<Memo> {
    this.#walked += 1;
    const volumes: VolumeId[] = [];
    const here = new Map<number, BlockRef>();
    await this.#deps.needed.walk([root], readNode, (ref) => {
      if (volumes.at(-1) !== ref.volume && !volumes.includes(ref.volume)) volumes.push(ref.volume);
      const place = pass.need(ref);
      if (place !== -1) here.set(place, ref);
    });
    const named = volumes.length === 1 ? volumes[0] : [...volumes];
    return { pass: pass.number, volumes: named, refs: numbersOf([...here.values()]), keptBy: 0 };
  }

  #keep(memo: Memo): void {
    const bytes = memoBytes + memo.refs.byteLength;
    if (this.#keptBytes + bytes > this.#bytesMax) return;
    this.#keptBytes += bytes;
    memo.keptBy = this.#marks;
  }
}

/** No block of its volumes has come since it was walked. */
function isOf(memo: Memo, pass: CollectPass): boolean {
  if (typeof memo.volumes === "number") return pass.newestOf(memo.volumes) <= memo.pass;
  return memo.volumes.every((volume) => pass.newestOf(volume) <= memo.pass);
}

function markAll(refs: Float64Array, pass: CollectPass): void {
  for (let at = 0; at < refs.length; at += numbersPerRef)
    pass.need({ type: refs[at], volume: refs[at + 1], epoch: refs[at + 2], index: refs[at + 3] });
}

/** Most INodes need nothing here. */
const nothing = new Float64Array(0);

function numbersOf(blocks: readonly BlockRef[]): Float64Array {
  if (blocks.length === 0) return nothing;
  const refs = new Float64Array(blocks.length * numbersPerRef);
  for (const [i, { type, volume, epoch, index }] of blocks.entries())
    refs.set([type, volume, epoch, index], i * numbersPerRef);
  return refs;
}
