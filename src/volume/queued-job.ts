// A job of the request queue: one request, or pages that are moved, until it is in the log.

import type { LogPlace } from "./record-codec.ts";

/** A page to be copied from one place of the log to its end. */
export interface MovedPage {
  readonly page: number;
  /** Where it was read, and the block's id in the table then. */
  readonly from: LogPlace;
  readonly id: number;
  readonly bytes: Uint8Array;
}

export interface MoveOutcome {
  /** Log position after the last of them. */
  readonly position: number;
  readonly moved: number;
  /** Pages of which it cannot be said now whether they are still there. */
  readonly undecided: readonly MovedPage[];
}

export interface Waiting {
  readonly resolve: (position: number) => void;
  readonly reject: (error: Error) => void;
}

export type Job = Waiting & { readonly first: number; readonly count: number } & (
    | { readonly kind: "write"; readonly bytes: Uint8Array; done: number }
    | { readonly kind: "merge"; readonly bytes: Uint8Array; readonly within: number }
    | { readonly kind: "zero" | "settled" }
    | { readonly kind: "move"; readonly bytes: Uint8Array; readonly id: number; readonly offset: number }
    | { readonly kind: "again"; readonly bytes: Uint8Array }
    | { readonly kind: "clean"; readonly batch: MoveBatch }
  );

export interface MoveBatch {
  readonly pages: readonly MovedPage[];
  done: number;
  moved: number;
  readonly undecided: MovedPage[];
}

/** They touch the same page. */
export function overlap(a: Job, b: Job): boolean {
  return a.first < b.first + b.count && b.first < a.first + a.count;
}

/** It needs space that new data may use. */
export function bringsData(job: Job): boolean {
  return job.kind === "write" || job.kind === "merge";
}
