// backup: a volume's content leaves the cluster and comes back. Enters: block devices, and files, pipes or targets of backups. Leaves: raw
// images, backups and what is told of them.

export type { DumpOptions, ImageSink } from "./image-dump.ts";
export { dumpImage } from "./image-dump.ts";
export type { ClosableSink, ClosableSource } from "./image-file.ts";
export { openSink, openSource, pipeSink, pipeSource } from "./image-file.ts";
export type { ImageSource, Loaded, LoadOptions } from "./image-load.ts";
export { loadImage } from "./image-load.ts";
