// distributor: a block to and from its peers. Enters: closed records of open blocks, reads of places. Leaves: positions held and
// durable, verified bytes, repairs. It sees peers only as BlockStores.

export { ReadCache } from "./read-cache.ts";
export type { ReaderDeps, ReaderOptions } from "./reader.ts";
export { Reader, readerDefaults } from "./reader.ts";
export type { RepairerDeps, SealOf } from "./repairer.ts";
export { Repairer } from "./repairer.ts";
export type { ReplicatorDeps, ReplicatorListener, ReplicatorOptions } from "./replicator.ts";
export { Replicator, replicatorDefaults } from "./replicator.ts";
export type { WriteBlock, WriteCommand, WriteMember } from "./write-block.ts";
export type { WriteMachineOptions } from "./write-machine.ts";
export { WriteMachine } from "./write-machine.ts";
