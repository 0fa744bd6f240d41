// torusctl file put and get: files of the cluster from files and pipes of this machine, and back.

import { type Command, Option } from "commander";
import type { ClosableSource, Loaded } from "#backup";
import { dumpImage, loadImage, openSink, openSource, pipeSink, pipeSource } from "#backup";
import type { Cluster, TorusFile } from "#client";
import { FileContent } from "#client";
import { formatBytes, isTorusError, TorusError } from "#model";
import type { TorusctlContext } from "./context.ts";
import type { ProgressFlags } from "./copy-progress.ts";
import { addProgressOption, progressBarOf } from "./copy-progress.ts";
import { withSnapshot } from "./temporary-snapshot.ts";
import { findVolume } from "./volume-kind.ts";

interface PutFlags extends ProgressFlags {
  readonly overwrite?: boolean;
  readonly force?: boolean;
}

const putExamples = `
NAME is made, with what is in LOCAL; "-" is standard input. When this ends, all of it is on disk on every replica. Pages of zeroes take no space.

NAME never has a part of it: until all is there it is empty, for whoever opens it then, also after kill -9. When this fails or is stopped, a file that was made for it is deleted
again.

A file that is there already is written when it is empty. Else --overwrite is needed: what was in it goes first, and when this fails it is
empty. A file that somebody has open is busy: --force takes it from him.

Examples:
  torusctl file put report.pdf archive/report
  tar -c photos | torusctl file put - archive/photos.tar`;

const getExamples = `
LOCAL gets what is in NAME at one moment, to the byte, also while somebody has it open: through a snapshot that lasts as long as this; or what was in it at a
snapshot, NAME@SNAPSHOT. Pages of zeroes are holes in LOCAL, which has its name only once it is whole: until then it is LOCAL.partial- and a number. "-" is
standard output.

Examples:
  torusctl file get archive/report report.pdf
  torusctl file get archive/photos.tar - | tar -x`;

export function addPutCommand(command: Command, context: TorusctlContext): void {
  addProgressOption(command)
    .summary("a file of this machine becomes one of the cluster")
    .description("Puts a file into the cluster.")
    .argument("<local>", 'the file here, "-" for standard input')
    .argument("<name>", "what it is called in the cluster: NAME or SET/NAME")
    .addOption(new Option("--overwrite", "also when there is something in it"))
    .addOption(new Option("--force", "take it from who has it open"))
    .addHelpText("after", putExamples)
    .action((local: string, name: string, flags: PutFlags) => put(local, name, flags, context));
}

export function addGetCommand(command: Command, context: TorusctlContext): void {
  addProgressOption(command)
    .summary("a file of the cluster becomes one of this machine")
    .description("Gets a file from the cluster.")
    .argument("<name>", "the file in the cluster, or NAME@SNAPSHOT")
    .argument("<local>", 'where it goes, "-" for standard output')
    .addHelpText("after", getExamples)
    .action((name: string, local: string, flags: ProgressFlags) => get(name, local, flags, context));
}

async function put(local: string, name: string, flags: PutFlags, context: TorusctlContext): Promise<void> {
  const { io, output } = context;
  const source = local === "-" ? pipeSource(io.stdin()) : await openSource(local);
  try {
    const { isNew, loaded } = await context.untilStopped((signal) =>
      context.withFiles(async (files, cluster) => {
        const work = (file: TorusFile): Promise<Loaded> => fill(file, source, signal, flags, context);
        try {
          return { isNew: true, loaded: await files.createFile(name, work) };
        } catch (error) {
          // Only a file's making says this, which nothing of the source was read before.
          if (!isTorusError(error, "already-exists")) throw error;
        }
        await findVolume(name, "file", cluster);
        return { isNew: false, loaded: await putOver(name, flags, files, context, work) };
      }),
    );
    const { imageBytes: lengthBytes, writtenBytes } = loaded;
    output.print({
      json: { name, local, isNew, lengthBytes, writtenBytes },
      message: `put ${local} into ${isNew ? "new file" : "file"} ${name}: ${output.size(lengthBytes)}`,
    });
  } finally {
    await source.close();
  }
}

async function putOver(
  name: string,
  { overwrite = false, force = false }: PutFlags,
  files: Cluster,
  context: TorusctlContext,
  work: (file: TorusFile) => Promise<Loaded>,
): Promise<Loaded> {
  const file = await files.openFile(name, { force });
  const { length } = file;
  try {
    if (length > 0 && !overwrite)
      throw new TorusError(
        "already-exists",
        `file "${name}" has ${formatBytes(length)} in it: use --overwrite if that may go, or another name`,
      );
    const loaded = await work(file);
    await file.close();
    return loaded;
  } catch (error) {
    await file.close().catch(() => {});
    if (length > 0 && overwrite) context.output.warn(`what was in file "${name}" is gone; it is empty now`);
    throw error;
  }
}

/** What is in the file becomes what the source has. */
async function fill(
  file: TorusFile,
  source: ClosableSource,
  signal: AbortSignal,
  flags: PutFlags,
  context: TorusctlContext,
): Promise<Loaded> {
  const bar = progressBarOf(`putting ${file.name}`, flags, context);
  const onProgress = (doneBytes: number): void => bar.update(doneBytes, source.sizeBytes);
  let loaded: Loaded = { imageBytes: 0, writtenBytes: 0 };
  try {
    await file.replace(async (filling) => {
      loaded = await loadImage(source, filling, { isNew: true, signal, onProgress });
      return loaded.imageBytes;
    });
    return loaded;
  } finally {
    bar.end();
  }
}

async function get(
  name: string,
  local: string,
  flags: ProgressFlags,
  context: TorusctlContext,
): Promise<void> {
  const { io, output } = context;
  const lengthBytes = await context.untilStopped((signal) =>
    withSnapshot(name, { purpose: "get", kind: "file" }, context, async (opened) => {
      const content = await FileContent.open(opened);
      const { sizeBytes } = content.info;
      const sink = local === "-" ? pipeSink(io.stdout()) : await openSink(local, `partial-${io.pid}`);
      const bar = progressBarOf(`getting ${name}`, flags, context);
      const totalBytes = Math.min(sizeBytes, opened.found.snapshot.usedBytes);
      try {
        const onProgress = (doneBytes: number): void => bar.update(doneBytes, totalBytes);
        await dumpImage(content, sink, { signal, onProgress });
        return sizeBytes;
      } finally {
        bar.end();
        await sink.close();
      }
    }),
  );
  // Standard output has the bytes, and nothing else.
  if (local === "-") return;
  output.print({
    json: { name, local, lengthBytes },
    message: `got ${name} as ${local}: ${output.size(lengthBytes)}`,
  });
}
