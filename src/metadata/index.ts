// metadata: what the cluster agrees on. Enters: guarded transactions. Leaves: snapshots, watch events, leases.
// ClusterMetadata is the typed way in; MetadataService is the seam below it (memory, SQLite, etcd).

export type { CloseLook, MetadataLook } from "./adoption.ts";
export { AdoptionRegistry } from "./adoption.ts";
export type { AdoptionPlan, PeerTestimony, Rise, UnknownVolume, VolumeRise } from "./adoption-plan.ts";
export { planAdoption } from "./adoption-plan.ts";
export type { CloneRequest } from "./clone-registry.ts";
export { CloneRegistry, volumesNaming } from "./clone-registry.ts";
export type { ClusterDeps, ClusterRequest, ClusterSnapshot } from "./cluster.ts";
export { ClusterMetadata } from "./cluster.ts";
export type { BootClock } from "./embedded/boot-clock.ts";
export { SqliteMetadataService } from "./embedded/sqlite-service.ts";
export { EtcdMetadataService } from "./etcd/etcd-service.ts";
export type { SessionsChange } from "./head-changes.ts";
export type { HistoryMark } from "./history-machine.ts";
export { historyBytes, isExpired, pointAt, requireKeepMs } from "./history-machine.ts";
export type { FoundHistory } from "./history-registry.ts";
export { HistoryRegistry } from "./history-registry.ts";
export { requireName } from "./keys.ts";
export type { OpenService } from "./lasting-metadata.ts";
export { LastingMetadata } from "./lasting-metadata.ts";
export type { LeaseKeeperDeps } from "./lease-keeper.ts";
export { LeaseKeeper } from "./lease-keeper.ts";
export type { LeaseTime } from "./lease-machine.ts";
export type { StateBackup } from "./memory/memory-service.ts";
export { MemoryMetadataService, MemoryMetadataState } from "./memory/memory-service.ts";
export type { MetadataObserverDeps, MetadataObserverOptions, ObservedStore } from "./metadata-observer.ts";
export { MetadataObserver } from "./metadata-observer.ts";
export type { OpenDeps, OpenOptions } from "./open.ts";
export { openMetadata } from "./open.ts";
export type { PeerHeartbeatDeps, PeerHeartbeatOptions } from "./peer-heartbeat.ts";
export { PeerHeartbeat } from "./peer-heartbeat.ts";
export type { PeerListing, PeerMembership, PeerStatus } from "./peer-registry.ts";
export { PeerRegistry } from "./peer-registry.ts";
export type * from "./records.ts";

export { burstMsMax, bytesPerSecondMin, collectedVolumesMax, iopsMax, unlimited } from "./records-codec.ts";
export type { PendingRequest, VolumeRequests } from "./request-registry.ts";
export { answering, RequestRegistry } from "./request-registry.ts";
export type { GonePeer, RingWatch } from "./ring-registry.ts";

export { gonePeersMax, RingRegistry } from "./ring-registry.ts";
export type * from "./service.ts";
export type { FoundSnapshot } from "./snapshot-registry.ts";
export { SnapshotRegistry, snapshotsMax } from "./snapshot-registry.ts";
export type { VolumeDeletion } from "./volume-burial.ts";
export type { VolumeRequest } from "./volume-creation.ts";
export { requireVolumeSize } from "./volume-creation.ts";
export { isAttached } from "./volume-entries.ts";
export type { VolumeListing } from "./volume-registry.ts";
export { VolumeRegistry } from "./volume-registry.ts";
export type { AttachRequest, HeadCompany, WriterAttachment } from "./volume-writers.ts";
export { joined, noCompany, VolumeWriters } from "./volume-writers.ts";
