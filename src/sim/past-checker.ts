// What a volume may be said to have been at a time: all that was answered by then, as far as it was kept, and nothing that was issued later. What an
// attachment answered and nobody flushed may have been lost with it, from some instant on; so of every unit the newest write that
// was answered by then (with `writeback`: flushed by then) and is flushed by now, or a later one; and one instant must suit all units together.

import type { Epoch } from "#model";
import type { Version } from "./model-version.ts";
import type { VolumeModel } from "./volume-model.ts";

/** A moment of a run, of which the volume is asked for later. */
export interface Moment {
  readonly model: VolumeModel;
  /** Of the simulated clock. */
  readonly atMs: number;
  /** By the wall clocks of writers, in whole milliseconds. */
  readonly wallMs: number;
}

/** Writers count whole milliseconds. */
const marginMs = 2;

/** Judges `values`, what the volume is said to have had in each unit at `moment`. */
export function checkPast({ model, atMs }: Moment, values: readonly number[]): void {
  const epoch = model.epochAt(atMs);
  if (epoch === null) return;
  let lowMs = Number.NEGATIVE_INFINITY;
  let highMs = Number.POSITIVE_INFINITY;
  for (const [unit, value] of values.entries()) {
    const stay = stayOf(model, epoch, unit, value, atMs);
    if (stay === null) {
      const claim = `unit ${unit} is said to have been ${value} at ${atMs} ms, in epoch ${epoch}`;
      model.violate("any point in time", `${claim}, which it was not`);
      return;
    }
    lowMs = Math.max(lowMs, stay.fromMs);
    highMs = Math.min(highMs, stay.untilMs);
  }
  if (lowMs > highMs) {
    const claim = `a write issued at ${lowMs} ms is in it, and what was answered at ${highMs} ms is not`;
    model.violate("any point in time", `what it is said to have been at ${atMs} ms it never was: ${claim}`);
  }
}

function stayOf(
  model: VolumeModel,
  epoch: Epoch,
  unit: number,
  value: number,
  atMs: number,
): { fromMs: number; untilMs: number } | null {
  const own = model.versions(unit, epoch).filter(({ issuedMs }) => issuedMs <= atMs + marginMs);
  const { isReplicated } = model;
  const keptMs = ({ answeredMs, flushedMs }: Version) => (isReplicated ? answeredMs : flushedMs);
  const least = own.findLastIndex((version) => version.flushed && keptMs(version) < atMs - marginMs);
  const same = own.flatMap((version, i) => (i >= least && version.value === value ? [i] : []));
  // Zeroes are the same whenever they were written.
  const [from, until] = [same.map((i) => own[i].issuedMs), same.map((i) => firstAnswer(own, i + 1))];
  if (least === -1 && model.base(unit, epoch).some((version) => version.value === value)) {
    from.push(Number.NEGATIVE_INFINITY);
    until.push(firstAnswer(own, 0));
  }
  return from.length === 0 ? null : { fromMs: Math.min(...from), untilMs: Math.max(...until) };
}

function firstAnswer(versions: readonly Version[], from: number): number {
  return Math.min(Number.POSITIVE_INFINITY, ...versions.slice(from).map(({ answeredMs }) => answeredMs));
}
