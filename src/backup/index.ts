// backup: a volume's content leaves the cluster and comes back. Enters: block devices, and files, pipes or targets of backups. Leaves: raw
// images, backups and what is told of them.

export type { BackupDone, BackupOptions, BackupProgress } from "./backup-run.ts";
export { makeBackup } from "./backup-run.ts";
export type { CheckProblem, CheckResult } from "./check-run.ts";
export { checkBackups } from "./check-run.ts";
export { chunkBytesMax, chunkBytesMin } from "./chunk-codec.ts";
export type { Deleted } from "./delete-run.ts";
export { deleteBackups } from "./delete-run.ts";
export { DirectoryTarget } from "./directory-target.ts";
export type { DumpOptions, ImageSink } from "./image-dump.ts";
export { dumpImage } from "./image-dump.ts";
export type { ClosableSink, ClosableSource } from "./image-file.ts";
export { openSink, openSource, pipeSink, pipeSource } from "./image-file.ts";
export type { ImageSource, Loaded, LoadOptions } from "./image-load.ts";
export { loadImage } from "./image-load.ts";
export type { BackupManifest, SnapshotIdentity, UnfinishedBackup, VolumeIdentity } from "./manifest-codec.ts";
export { isChunkSize } from "./manifest-codec.ts";
export type { BackupName } from "./repository.ts";
export { Repository } from "./repository.ts";
export { restoreBackup } from "./restore-run.ts";
export type { S3Credentials } from "./s3-signature.ts";
export { S3Target } from "./s3-target.ts";
export type { OpenSnapshot, SourceSnapshot, SourceVolume } from "./source-volume.ts";
export type { BackupTarget } from "./target.ts";
export { unlock } from "./target-lock.ts";
