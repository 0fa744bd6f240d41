// storage: blocks to disk. Enters: BlockStore calls. Leaves: bytes in files (or in memory). Knows records' framing and
// sums, fences and seals; knows nothing of volumes' contents, rings or the network.

export { compareBlockRefs } from "./block-order.ts";
export { DiskStore } from "./disk-store.ts";
export { dataFileName } from "./identity.ts";
export type { MemoryStoreOptions } from "./memory-store.ts";
export { MemoryStore } from "./memory-store.ts";
export type { DiskStoreDeps, DiskStoreOptions } from "./store-opening.ts";
