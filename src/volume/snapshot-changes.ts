// SnapshotChanges: what of a volume, or of a snapshot of it, may read differently than in another snapshot, from comparing their maps. Its cost is that of
// the change, and one question to the metadata service.

import type { ClusterMetadata, NodePointer } from "#metadata";
import { isTorusError, pageBytes } from "#model";
import type { Extent } from "./block-device.ts";
import type { ExtentRange } from "./extent-list.ts";
import { ExtentList } from "./extent-list.ts";
import type { PageRange } from "./map-difference.ts";
import { keyOf, MapDifference } from "./map-difference.ts";
import type { ReadNode } from "./pointer-tree.ts";

/** An INode, and pages in ascending order that may have changed since it was made. */
export interface PresentMap {
  readonly root: NodePointer | null;
  readonly changed: readonly PageRange[];
}

export interface SnapshotChangesDeps {
  readonly metadata: ClusterMetadata;
  /** Verifies. */
  readonly readNode: ReadNode;
}

/** What one call looks at, at most: 1024 leaves that differ, or 2 GiB of change. */
const partsMax = 64;
/** Comparisons that are kept for the next call, with the nodes that they remember. */
const differencesMax = 4;

export class SnapshotChanges {
  readonly #volume: string;
  readonly #deps: SnapshotChangesDeps;
  readonly #differences = new Map<string, MapDifference>();

  constructor(options: { readonly volume: string }, deps: SnapshotChangesDeps) {
    this.#volume = options.volume;
    this.#deps = deps;
  }

  /**
   * See `BlockDevice.changedSince`; `present` is called when the snapshot has been found. What took so long that an INode was collected under it
   * looks again, at the one there is then.
   */
  since(snapshot: string, present: () => PresentMap, range: ExtentRange): Promise<readonly Extent[]> {
    return this.#look(snapshot, present, range).catch((error: unknown) => {
      if (!isTorusError(error, "corrupt")) throw error;
      return this.#look(snapshot, present, range);
    });
  }

  async #look(snapshot: string, present: () => PresentMap, range: ExtentRange): Promise<readonly Extent[]> {
    const found = await this.#deps.metadata.snapshots.find(this.#volume, snapshot);
    const { root, changed } = present();
    const difference = this.#difference(found.snapshot.root, root);
    const list = new ExtentList(range);
    const end = Math.ceil((range.offset + range.length) / pageBytes);
    let page = Math.floor(range.offset / pageBytes);
    for (let parts = 0; page < end && parts < partsMax; parts++) {
      const part = await difference.after(page);
      const stop = Math.min(end, part.end);
      const ranges = [...part.ranges, ...changed].sort((a, b) => a.first - b.first);
      if (!markUpTo(list, ranges, stop)) break;
      page = stop;
    }
    return list.take();
  }

  #difference(from: NodePointer, to: NodePointer | null): MapDifference {
    const key = `${keyOf(from)} ${to === null ? "" : keyOf(to)}`;
    const difference =
      this.#differences.get(key) ?? new MapDifference({ from, to }, { readNode: this.#deps.readNode });
    this.#differences.delete(key);
    this.#differences.set(key, difference);
    for (const oldest of this.#differences.keys()) {
      if (this.#differences.size <= differencesMax) break;
      this.#differences.delete(oldest);
    }
    return difference;
  }
}

/** Everything below page `stop`: what `ranges` name, which may overlap, is marked. False when no more is wanted. */
function markUpTo(list: ExtentList, ranges: readonly PageRange[], stop: number): boolean {
  for (const { first, count } of ranges) {
    if (first >= stop) break;
    if (!list.reach(first * pageBytes, false)) return false;
    if (!list.reach(Math.min(stop, first + count) * pageBytes, true)) return false;
  }
  return list.reach(stop * pageBytes, false);
}
