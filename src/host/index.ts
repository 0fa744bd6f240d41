// host: the outside as interfaces (time, randomness, disk, log, metrics). Enters: nothing. Leaves: types, and
// Metrics, which is plain memory. The real ones are in #host/node; the simulator has its own.

export type { Disk, DiskFile, ForeignFile, OpenForeignFile } from "./disk.ts";
export type { Clock, Log, LogFields, Random, Timer } from "./host.ts";
export { sleep } from "./host.ts";
export { MemoryBudget } from "./memory-budget.ts";
export type { MetricSample } from "./metrics.ts";
export { Counter, Metrics } from "./metrics.ts";
export type {
  Address,
  Connect,
  Connection,
  ConnectionHandlers,
  Listen,
  Listener,
  Network,
} from "./network.ts";
export { formatAddress, parseAddress } from "./network.ts";
export { ReusedMemory } from "./reused-memory.ts";
