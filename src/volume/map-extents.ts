// What of a volume has content, from its map: for clients that copy it and want to leave holes out.
//
// A page that the map has is told as content, also when its bytes are zeroes; one that it has not is a hole for sure. Leaves are looked at as
// they are at one moment each, so a write that is answered before the call is seen.

import { pageBytes } from "#model";
import type { Extent } from "./block-device.ts";
import type { ExtentRange } from "./extent-list.ts";
import { ExtentList } from "./extent-list.ts";
import type { ExtentMap, Leaf } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";

/** What one call looks at, at most: 2 GiB of content, with holes of any size between. */
const leavesMax = 1024;
/** Leaves that are read together. */
const leavesAtOnce = 8;

export async function mapExtents(map: ExtentMap, range: ExtentRange): Promise<readonly Extent[]> {
  const list = new ExtentList(range);
  const end = Math.ceil((range.offset + range.length) / pageBytes);
  let page = Math.floor(range.offset / pageBytes);
  for (let leaves = 0; page < end && leaves < leavesMax; leaves++) {
    if (leaves % leavesAtOnce === 0) await loadAhead(map, page, end);
    const leaf = map.leafNow(page) ?? (await map.load(page));
    if (isHole(leaf)) {
      const next = Math.min(end, await map.nextMapped(page));
      // A leaf that was made meanwhile is looked at again.
      if (next > page && !list.reach(next * pageBytes, false)) break;
      page = next;
      continue;
    }
    const stop = Math.min(end, (Math.floor(page / leafPages) + 1) * leafPages);
    if (!addRuns(list, leaf, page, stop)) break;
    page = stop;
  }
  return list.take();
}

async function loadAhead(map: ExtentMap, first: number, end: number): Promise<void> {
  const missing: Promise<unknown>[] = [];
  for (let page = first, count = 0; page < end && count < leavesAtOnce; page += leafPages, count++)
    if (map.leafNow(page) === null) missing.push(map.load(page));
  if (missing.length > 0) await Promise.all(missing);
}

function isHole(leaf: Leaf): boolean {
  return leaf.index === -1;
}

function addRuns(list: ExtentList, { ids }: Leaf, first: number, stop: number): boolean {
  let page = first;
  while (page < stop) {
    const marked = ids[page % leafPages] !== 0;
    do page += 1;
    while (page < stop && (ids[page % leafPages] !== 0) === marked);
    if (!list.reach(page * pageBytes, marked)) return false;
  }
  return true;
}
