// volume: bytes at offsets over a log of blocks. Enters: a block store and the metadata service. Leaves:
// BlockDevice, what a gateway serves, and the catalogue of a cluster's volumes.

export type { AttachTuning, ClientsReach, DeviceClaim } from "./attach-options.ts";
export { attachTuningDefaults } from "./attach-options.ts";
export type { BlockDevice, BlockDeviceInfo, Extent } from "./block-device.ts";
export type {
  AttachedVolume,
  AttachWish,
  SnapshotSummary,
  VolumeCatalog,
  VolumeSummary,
} from "./catalog.ts";
export type { CleanerOptions } from "./cleaner.ts";
export { cleanerDefaults } from "./cleaner.ts";
export { ClusterView } from "./cluster-view.ts";
export type { ClusterVolumesDeps, ClusterVolumesOptions } from "./cluster-volumes.ts";
export { ClusterVolumes } from "./cluster-volumes.ts";
export type { FenceOrder } from "./decided-fence.ts";
export { FenceDecision } from "./decided-fence.ts";
export type { Flattened, FlattenProgress } from "./flattener.ts";
export { nodesFrom } from "./inode.ts";
export type { DifferencePart, MapDifferenceOptions, PageRange } from "./map-difference.ts";
export { MapDifference } from "./map-difference.ts";
export { MemoryDevice } from "./memory-device.ts";
export type { NoteNeeded } from "./needed-blocks.ts";
export { NeededBlocks, nodeKey } from "./needed-blocks.ts";
export type { ResizeOrderOptions } from "./resize-order.ts";
export type { ResizeWish } from "./resizer.ts";
export type { SnapshotWish } from "./snapshot-keeper.ts";
export type { SnapshotOrderOptions } from "./snapshot-order.ts";
export type { SnapshotRestored } from "./snapshot-restore.ts";
export { parseSnapshotName, SnapshotVolume } from "./snapshot-volume.ts";
export { hasTail } from "./tail-state.ts";
export type { Volume } from "./volume.ts";
export type { VolumeOrders } from "./volume-orders.ts";
export type { VolumesMemory } from "./volumes-memory.ts";
