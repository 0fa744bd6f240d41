// sim: the unreal outside, and whole clusters in it. Enters: a seed. Leaves: a history, and what is wrong with it. Everything else of
// the project runs here unchanged; only host and the transport of metadata are replaced. docs/simulator.md is the page for people.

export type { Canary } from "./canaries.ts";
export { canaries, canaryPlan, runCanary } from "./canaries.ts";
export type { FaultEvent, FaultKind, Plan } from "./plan.ts";
export { faultKinds, makePlan, quiet } from "./plan.ts";
export { regressions } from "./regressions.ts";
export type { Outcome, RunOptions } from "./run.ts";
export { runPlan } from "./run.ts";
export type { ScaleLoad, ScalePhase, ScaleReport } from "./scale/scale-run.ts";
export { runScale } from "./scale/scale-run.ts";
export type { ScaleSize } from "./scale/size.ts";
export { largeSize, smallSize } from "./scale/size.ts";
export { runSeed, shrink } from "./seed-run.ts";
export type { Violation } from "./world.ts";
export { World } from "./world.ts";
