// What a snapshot may show: the volume as it was at one instant between the moment it was asked for and the answer. So of every unit
// the newest write answered before, or one under way; and one instant must suit all units together.

import type { Epoch } from "#model";
import type { Version } from "./model-version.ts";
import type { VolumeModel } from "./volume-model.ts";

export interface TakenSnapshot {
  readonly model: VolumeModel;
  readonly name: string;
  /** The epoch of the writer that took it. */
  readonly epoch: Epoch;
  readonly askedMs: number;
  readonly answeredMs: number;
}

/** When `value` can have been what a unit was: no earlier, and no later. */
interface Stay {
  fromMs: number;
  untilMs: number;
}

/** Judges `values`, what the snapshot shows of each unit. */
export function checkSnapshot(taken: TakenSnapshot, values: readonly number[]): void {
  const { model, name, askedMs, answeredMs } = taken;
  let lowMs = askedMs;
  let highMs = answeredMs;
  for (const [unit, value] of values.entries()) {
    const stay = stayOf(taken, unit, value);
    if (stay === null) {
      model.violate(
        "snapshots",
        `unit ${unit} of snapshot ${name} has value ${value}, which it had not while it was taken`,
      );
      return;
    }
    lowMs = Math.max(lowMs, stay.fromMs);
    highMs = Math.min(highMs, stay.untilMs);
  }
  if (lowMs > highMs) {
    const claim = `a write issued at ${lowMs} ms is in it, and what was answered at ${highMs} ms is not`;
    model.violate("snapshots", `snapshot ${name} is of no one instant: ${claim}`);
  }
}

function stayOf(taken: TakenSnapshot, unit: number, value: number): Stay | null {
  const { model, epoch, askedMs, answeredMs } = taken;
  const own = model.versions(unit, epoch).filter(({ issuedMs }) => issuedMs <= answeredMs);
  const least = own.findLastIndex((version) => version.answeredMs < askedMs);
  const stays: Stay[] = [];
  for (let i = Math.max(0, least); i < own.length; i++)
    if (own[i].value === value) stays.push({ fromMs: own[i].issuedMs, untilMs: firstAnswer(own, i + 1) });
  if (least === -1) {
    const base = model.base(unit, epoch).filter((version) => version.value === value);
    if (base.length > 0) {
      // It shows how this epoch began, unless a write of the epoch has the same value.
      if (stays.length === 0) model.pin(unit, epoch, base);
      stays.push({ fromMs: 0, untilMs: firstAnswer(own, 0) });
    }
  }
  if (stays.length === 0) return null;
  return {
    fromMs: Math.min(...stays.map(({ fromMs }) => fromMs)),
    untilMs: Math.max(...stays.map(({ untilMs }) => untilMs)),
  };
}

/** When the first of `versions` from number `from` on was answered: what was before is gone by then. */
function firstAnswer(versions: readonly Version[], from: number): number {
  return Math.min(Number.POSITIVE_INFINITY, ...versions.slice(from).map(({ answeredMs }) => answeredMs));
}
