// torusctl block dump and load: volumes as raw images, in files and pipes.

import { type Command, Option } from "commander";
import type { ClosableSource, Loaded } from "#backup";
import { dumpImage, loadImage, openSink, openSource, pipeSink, pipeSource } from "#backup";
import type { ClusterMetadata } from "#metadata";
import { formatBytes, isTorusError, pageBytes, parseBytes, TorusError } from "#model";
import type { ClusterVolumes } from "#volume";
import type { ProgressBar } from "../shared/progress-bar.ts";
import type { TorusctlContext } from "./context.ts";
import type { ProgressFlags } from "./copy-progress.ts";
import { addProgressOption, progressBarOf } from "./copy-progress.ts";
import { intoNewVolume } from "./new-volume.ts";
import { withSnapshot } from "./temporary-snapshot.ts";
import { findVolume } from "./volume-kind.ts";

interface LoadFlags extends ProgressFlags {
  readonly overwrite?: boolean;
}

const dumpExamples = `
VOLUME is dumped as it is at one moment, through a snapshot that lasts as long as the dump, also while it is attached. FILE is a raw image as qemu-img
and nbdkit have it; holes of the volume and pages of zeroes are holes in it. FILE has its name only once it is whole: until then it is FILE.partial-
and a number. "-" is standard output.

Examples:
  torusctl block dump db db.img
  torusctl block dump db@monday - | zstd > monday.img.zst`;

const loadExamples = `
A volume that is not there is made, of SIZE, or of the file's size. One that is there must be large enough and not attached; where something is in use in
it, --overwrite is needed, and what lies behind the image's end stays. Pages of zeroes take no space. "-" is standard input.

Examples:
  torusctl block load debian.raw vm-1 20GiB
  zstd -dc monday.img.zst | torusctl block load - db-monday 100GiB`;

export function addImageCommands(block: Command, context: TorusctlContext): void {
  addProgressOption(block.command("dump"))
    .summary("a volume or snapshot becomes a raw image")
    .description("Writes what is in a volume to a file, or to standard output.")
    .argument("<volume>", "the volume, or VOLUME@SNAPSHOT")
    .argument("<file>", 'where the image goes, "-" for standard output')
    .addHelpText("after", dumpExamples)
    .action((name: string, file: string, flags: ProgressFlags) => dump(name, file, flags, context));
  addProgressOption(block.command("load"))
    .summary("a raw image becomes a volume")
    .description("Reads a raw image into a volume.")
    .argument("<file>", 'the image, "-" for standard input')
    .argument("<volume>", "the volume, made if it is not there")
    .argument("[size]", "its size when it is made (default: the file's)")
    .addOption(new Option("--overwrite", "also into a volume that something is in"))
    .addHelpText("after", loadExamples)
    .action((file: string, name: string, size: string | undefined, flags: LoadFlags) =>
      load({ file, name, size: size ?? null, overwrite: flags.overwrite ?? false }, flags, context),
    );
}

async function dump(
  name: string,
  file: string,
  flags: ProgressFlags,
  context: TorusctlContext,
): Promise<void> {
  const { io, output } = context;
  const done = await context.untilStopped((signal) =>
    withSnapshot(name, { purpose: "dump", kind: "block" }, context, async (opened) => {
      const sink = file === "-" ? pipeSink(io.stdout()) : await openSink(file, `partial-${io.pid}`);
      const bar = progressBarOf(`dumping ${name}`, flags, context);
      try {
        const { usedBytes, sizeBytes } = opened.found.snapshot;
        const onProgress = (doneBytes: number): void => bar.update(doneBytes, usedBytes);
        return { contentBytes: await dumpImage(opened, sink, { signal, onProgress }), sizeBytes };
      } finally {
        bar.end();
        await sink.close();
      }
    }),
  );
  // Standard output has the image, and nothing else.
  if (file === "-") return;
  output.print({
    json: { volume: name, file, ...done },
    message: `dumped ${name} to ${file}: ${output.size(done.contentBytes)} in use of ${output.size(done.sizeBytes)}`,
  });
}

interface LoadWish {
  readonly file: string;
  readonly name: string;
  readonly size: string | null;
  readonly overwrite: boolean;
}

async function load(wish: LoadWish, flags: LoadFlags, context: TorusctlContext): Promise<void> {
  const { io, output } = context;
  const { file, name } = wish;
  const source = file === "-" ? pipeSource(io.stdin()) : await openSource(file);
  try {
    const { loaded, isNew, sizeBytes } = await context.untilStopped((signal) =>
      context.withVolumes(async (volumes, cluster) => {
        const chosen = await chooseVolume(wish, source, cluster);
        const bar = progressBarOf(`loading ${name}`, flags, context);
        const work = (): Promise<Loaded> => fill(volumes, name, source, { isNew: chosen.isNew, signal, bar });
        const spec = {
          name,
          sizeBytes: chosen.sizeBytes,
          acknowledge: "replicated",
          minReplicas: null,
        } as const;
        const copied = chosen.isNew ? await intoNewVolume(spec, cluster, context, work) : await work();
        return { loaded: copied, ...chosen };
      }),
    );
    const written = output.size(loaded.writtenBytes);
    output.print({
      json: { volume: name, file, isNew, sizeBytes, ...loaded },
      message: `loaded ${file} into ${isNew ? "new volume" : "volume"} ${name}: ${written} written of ${output.size(loaded.imageBytes)}`,
    });
  } finally {
    await source.close();
  }
}

interface ChosenVolume {
  readonly isNew: boolean;
  readonly sizeBytes: number;
}

/** The volume there is, or what one is to be. */
async function chooseVolume(
  { file, name, size, overwrite }: LoadWish,
  source: ClosableSource,
  cluster: ClusterMetadata,
): Promise<ChosenVolume> {
  const askedBytes = size === null ? null : parseBytes(size, "size");
  const found = await findVolume(name, "block", cluster).catch((error: unknown) => {
    if (isTorusError(error, "not-found")) return null;
    throw error;
  });
  if (found === null) {
    const sizeBytes = askedBytes ?? roundedUp(source.sizeBytes, file);
    requireFits(source, sizeBytes, `size ${size}`);
    return { isNew: true, sizeBytes };
  }
  const { sizeBytes } = found.spec;
  if (askedBytes !== null && askedBytes !== sizeBytes)
    throw new TorusError(
      "already-exists",
      `volume "${name}" is there and has ${formatBytes(sizeBytes)}, not ${size}: leave the size out, or use another name`,
    );
  requireFits(source, sizeBytes, `volume "${name}"`);
  if (found.head !== null && found.head.usedBytes > 0 && !overwrite)
    throw new TorusError(
      "already-exists",
      `volume "${name}" has ${formatBytes(found.head.usedBytes)} in use: use --overwrite if that may go, or another name`,
    );
  return { isNew: false, sizeBytes };
}

function roundedUp(bytes: number | null, file: string): number {
  if (bytes !== null && bytes > 0) return Math.ceil(bytes / pageBytes) * pageBytes;
  throw new TorusError(
    "invalid-argument",
    bytes === null
      ? `how large ${file === "-" ? "standard input" : file} is cannot be told: name the size of the volume to be made`
      : `${file} is empty: name the size of the volume to be made`,
  );
}

function requireFits({ sizeBytes }: ClosableSource, roomBytes: number, where: string): void {
  if (sizeBytes === null || sizeBytes <= roomBytes) return;
  throw new TorusError(
    "invalid-argument",
    `the image has ${formatBytes(sizeBytes)} (${sizeBytes} bytes), which ${where} has no room for (${roomBytes} bytes)`,
  );
}

async function fill(
  volumes: ClusterVolumes,
  name: string,
  source: ClosableSource,
  { isNew, signal, bar }: { isNew: boolean; signal: AbortSignal; bar: ProgressBar },
): Promise<Loaded> {
  const volume = await volumes.attachNow(name, { force: false });
  const onProgress = (doneBytes: number): void => bar.update(doneBytes, source.sizeBytes);
  try {
    return await loadImage(source, volume, { isNew, signal, onProgress });
  } finally {
    bar.end();
    await volume.close();
  }
}
