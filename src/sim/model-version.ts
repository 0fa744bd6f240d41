// Version: one write of one unit of a volume, as the model knows it.

import type { Epoch } from "#model";

/** One write of one unit. Ordered by epoch, then `order`. */
export interface Version {
  readonly epoch: Epoch;
  readonly order: number;
  readonly value: number;
  readonly issuedMs: number;
  /** When it was answered; infinite before. */
  answeredMs: number;
  flushed: boolean;
  /** When the first flush that covers it was answered; infinite before. */
  flushedMs: number;
}

export function isBefore(a: Version, b: Version): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.order < b.order);
}

/** For people. */
export function describe(versions: readonly Version[]): string {
  return versions
    .map(({ value, epoch, flushed, answeredMs }) => {
      const state = flushed ? "flushed" : Number.isFinite(answeredMs) ? "answered" : "unanswered";
      return `value ${value} of epoch ${epoch} (${state})`;
    })
    .join(", ");
}
