// The JavaScript heap. V8 keeps what a program needed only to start, source, parsed code and room for young objects, until it is short
// of memory; a daemon that then has little to do keeps it for ever.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;

/** Gives back to the system what this thread's heap does not need. It takes some 40 ms: for the end of a start. */
export function releaseHeap(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as Collect;
  setFlagsFromString("--no-expose-gc");
  // Of the kinds there are the only one that gives pages back.
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}
