// client: Torus as a library, for programs of people (docs/library.md). Enters: the metadata service's URL. Leaves: the cluster's volumes and
// files. What programs of this project share with it, the links to every peer, is here too.

export type { AskedPeersDeps } from "./asked-peers.ts";
export { withAskedPeers } from "./asked-peers.ts";
export type { ConnectOptions, NewVolume, OpenFileOptions } from "./cluster.ts";
export { Cluster, connect } from "./cluster.ts";
export type { FileFilling } from "./file.ts";
export { TorusFile } from "./file.ts";
export { FileContent } from "./file-content.ts";
export { fileBytesMax } from "./file-header-codec.ts";
export type { OpenVolumes, VolumesDeps, VolumesOptions } from "./open-volumes.ts";
export { openVolumes } from "./open-volumes.ts";
export { metadataSurroundings } from "./surroundings.ts";
export type { FenceDeps, FenceOptions } from "./writer-fence.ts";
export { shutOutWriters } from "./writer-fence.ts";
