// What the operator of a run does beside the clients, and when (snapshot-operator.ts).

import type { FaultKind } from "./plan.ts";
import type { SeededRandom } from "./random.ts";

/** What the operator does (snapshot-operator.ts); `pick` says to which volume or snapshot. */
export interface Operation {
  readonly atMs: number;
  readonly kind:
    | "snapshot"
    | "read"
    | "restore"
    | "clone"
    | "flatten"
    | "delete"
    | "keep"
    | "mark"
    | "past"
    | "resize";
  readonly pick: number;
}

/** In one run of three; in half of these peers collect what is dead, too. */
export function operationsOf(
  random: SeededRandom,
  durationMs: number,
): { readonly all: readonly Operation[]; readonly collects: boolean } {
  if (!random.oneIn(3)) return { all: [], collects: false };
  const collects = random.oneIn(2);
  const kinds = [
    "snapshot",
    "snapshot",
    "snapshot",
    "read",
    "restore",
    "clone",
    "flatten",
    "delete",
  ] as const;
  const count = Math.ceil(durationMs / random.pick([1000, 3000]));
  const operations = Array.from({ length: count }, () => ({
    atMs: random.between(200, durationMs),
    kind: random.pick(kinds),
    pick: random.uint32(),
  }));
  return { all: operations.sort((a, b) => a.atMs - b.atMs), collects };
}

/** A writer's clock that is wrong says another time than the one that is asked for; on a full pool a history leaves no room. */
const notWithHistory: readonly FaultKind[] = ["wall-jump", "clock-drift", "suspend", "full"];

/** In half of these runs volumes keep their history, and the operator asks what they were. */
export function pastOf(random: SeededRandom, kinds: readonly FaultKind[], durationMs: number): Operation[] {
  if (random.oneIn(2) || notWithHistory.some((kind) => kinds.includes(kind))) return [];
  const count = Math.ceil(durationMs / random.pick([500, 2000]));
  const at = (kind: "keep" | "mark" | "past", fromMs: number, untilMs: number): Operation => ({
    ...{ atMs: random.between(fromMs, untilMs), kind, pick: random.uint32() },
  });
  return [
    ...Array.from({ length: 4 }, () => at("keep", 100, Math.min(4000, durationMs))),
    ...Array.from({ length: count }, () => [
      at("mark", 200, durationMs),
      at("past", 1000, durationMs),
    ]).flat(),
  ];
}

/** In a third of these runs volumes become larger and smaller. */
export function resizesOf(random: SeededRandom, durationMs: number): Operation[] {
  if (!random.oneIn(3)) return [];
  const count = Math.ceil(durationMs / random.pick([1500, 5000]));
  return Array.from({ length: count }, () => ({
    ...{ atMs: random.between(500, durationMs), kind: "resize" as const, pick: random.uint32() },
  }));
}
