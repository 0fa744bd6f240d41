// The JavaScript heap. V8 keeps what a program needed only to start, source, parsed code and room for young objects, until it is short
// of memory; a daemon that then has little to do keeps it for ever.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

interface Collection {
  readonly type: "major";
  readonly execution: "sync";
  readonly flavor: "regular" | "last-resort";
}

/** Gives back to the system what this thread's heap does not need. It takes some 40 ms: for the end of a start. */
export function releaseHeap(): void {
  // Of the flavors the only one that gives pages back.
  collector()({ type: "major", execution: "sync", flavor: "last-resort" });
}

/** Finds the garbage of this thread now: buffers above all, which lie outside of the heap. It takes as long as the heap is large, 10 ms at least. */
export function collectGarbage(): void {
  collector()({ type: "major", execution: "sync", flavor: "regular" });
}

/** What V8 gives to programs that were started with a flag. */
function collector(): (collection: Collection) => void {
  known ??= makeCollector();
  return known;
}

let known: ((collection: Collection) => void) | null = null;

function makeCollector(): (collection: Collection) => void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (collection: Collection) => void;
  setFlagsFromString("--no-expose-gc");
  return collect;
}
