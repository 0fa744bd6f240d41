// upkeep: what a peer does by itself, paced: moves blocks where the ring wants them, collects dead ones, scrubs, takes dead
// peers out of the ring, recovers tails nobody owns. Enters: the peer's own store, the links to others, the metadata.
// Leaves: changes in the own store, blocks put at others, ring versions.

export type { Guard } from "./latency-guard.ts";
export { LatencyGuard, noGuard } from "./latency-guard.ts";
export { latencyGuardDefaults } from "./latency-guard-machine.ts";
export type { OwnStore } from "./own-store.ts";
export { desiredPeers, ringOf, standingOf } from "./reconcile-machine.ts";
export { historyStanding, rootsOf } from "./roots.ts";
export type { ScrubNote } from "./scrubber.ts";
export { Upkeep } from "./upkeep.ts";
export type { TailDeps, UpkeepDeps, UpkeepOptions } from "./upkeep-deps.ts";
export { upkeepDefaults } from "./upkeep-deps.ts";
