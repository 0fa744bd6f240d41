// Flattener: gives a clone all of its blocks itself. Pages that lie in blocks of other volumes are read and appended to the clone's own
// log, each only if the map still has it where it was [C17]; then a checkpoint, and the origin says what is still named: by the
// clone's snapshots from before, if any. Stopped at any point, it goes on where it was when it is run again.

import type { Reader } from "#distributor";
import type { ClusterMetadata, NodePointer, WriterAttachment } from "#metadata";
import type { VolumeId } from "#model";
import { pageBytes } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { ExtentMap } from "./extent-map.ts";
import { nodesFrom } from "./inode.ts";
import { leafPages } from "./inode-codec.ts";
import { NeededBlocks } from "./needed-blocks.ts";
import type { PageReader } from "./page-reader.ts";
import type { RequestQueue } from "./request-queue.ts";
import type { VolumeSize } from "./volume-size.ts";

export interface FlattenProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface Flattened {
  readonly movedBytes: number;
  /** Snapshots of the clone that still name blocks of other volumes: as long as they are there, so are those. */
  readonly heldBy: readonly string[];
  /** So does its history. */
  readonly isHeldByHistory: boolean;
}

export interface FlattenerDeps {
  readonly metadata: ClusterMetadata;
  readonly attachment: WriterAttachment;
  readonly table: BlockTable;
  /** Of blocks, by their refs. */
  readonly blocks: Reader;
  readonly map: ExtentMap;
  readonly queue: RequestQueue;
  readonly reader: PageReader;
  readonly checkpointer: Checkpointer;
  readonly size: VolumeSize;
}

/** Pages read and appended at once. */
const batchPages = 512;
/** INodes share most of their nodes. */
const nodeCacheBytes = 16 * 2 ** 20;

export class Flattener {
  readonly #deps: FlattenerDeps;
  #done = 0;

  constructor(deps: FlattenerDeps) {
    this.#deps = deps;
  }

  /** Rejects with `full` where there is no space for it. */
  async run(onProgress: (progress: FlattenProgress) => void): Promise<Flattened> {
    const { map, checkpointer, size } = this.#deps;
    const total = this.#foreignPages();
    const tell = (): void => onProgress({ doneBytes: this.#done * pageBytes, totalBytes: total * pageBytes });
    tell();
    // Who else writes meanwhile makes pages the clone's own, never others': one pass finds all.
    const pages = size.bytes / pageBytes;
    for (let page = await map.nextMapped(0); page < pages; page = await map.nextMapped(page)) {
      const count = leafPages - (page % leafPages);
      await this.#moveLeaf(page, Math.min(count, pages - page));
      tell();
      page += count;
    }
    await checkpointer.runUnlessFull();
    return { movedBytes: this.#done * pageBytes, ...(await this.#narrow()) };
  }

  #isForeign(id: number): boolean {
    const { table, attachment } = this.#deps;
    return id !== 0 && table.ref(id).volume !== attachment.volume;
  }

  #foreignPages(): number {
    const { table, attachment } = this.#deps;
    let pages = 0;
    for (const id of table.ids())
      if (table.ref(id).volume !== attachment.volume) pages += table.entry(id)?.live ?? 0;
    return pages;
  }

  async #moveLeaf(first: number, count: number): Promise<void> {
    const leaf = await this.#deps.map.load(first);
    const runs: Promise<void>[] = [];
    for (let at = 0; at < count; ) {
      const slot = (first + at) % leafPages;
      let length = 0;
      while (at + length < count && length < batchPages && this.#isForeign(leaf.ids[slot + length]))
        length += 1;
      if (length > 0) {
        const ids = leaf.ids.slice(slot, slot + length);
        const offsets = leaf.offsets.slice(slot, slot + length);
        runs.push(this.#moveRun(first + at, ids, offsets));
      }
      at += Math.max(1, length);
    }
    await Promise.all(runs);
  }

  async #moveRun(first: number, ids: Uint32Array, offsets: Uint16Array): Promise<void> {
    const { reader, queue } = this.#deps;
    const bytes = await reader.read(first, ids.length);
    const moves = [...ids].map((id, i) =>
      queue.move(first + i, id, offsets[i], bytes.subarray(i * pageBytes, (i + 1) * pageBytes)),
    );
    await Promise.all(moves);
    this.#done += ids.length;
  }

  /** The origin as the INodes that are kept have it now; what holds on to it. */
  async #narrow(): Promise<Omit<Flattened, "movedBytes">> {
    const { metadata, attachment, blocks } = this.#deps;
    const readNode = nodesFrom(blocks);
    const needed = new NeededBlocks({ cacheBytesMax: nodeCacheBytes });
    const namedBy = async (root: NodePointer): Promise<Set<VolumeId>> => {
      const volumes = new Set<VolumeId>();
      await needed.walk([root], readNode, ({ volume }) => volumes.add(volume));
      return volumes;
    };
    const { head, snapshots, history } = await metadata.writers.loadAttached(attachment);
    const named = new Set<VolumeId>();
    const heldBy: string[] = [];
    if (head?.root) for (const volume of await namedBy(head.root)) named.add(volume);
    for (const { name, root } of snapshots) {
      const volumes = await namedBy(root);
      if ([...volumes].some((volume) => volume !== attachment.volume)) heldBy.push(name);
      for (const volume of volumes) named.add(volume);
    }
    // Points come only from heads, which name nothing of others any more.
    let isHeldByHistory = false;
    for (const { root } of history?.points ?? []) {
      const volumes = await namedBy(root);
      if ([...volumes].some((volume) => volume !== attachment.volume)) isHeldByHistory = true;
      for (const volume of volumes) named.add(volume);
    }
    await metadata.clones.narrow(attachment, [...named]);
    return { heldBy, isHeldByHistory };
  }
}
