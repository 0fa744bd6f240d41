// torusctl file: files of the cluster, as the library has them: made, listed, cut, deleted. file-copy-commands.ts brings them in and out.

import { type Command, Option } from "commander";
import type { VolumeState } from "#metadata";
import type { Column } from "../shared/table.ts";
import { parseFileLength } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";
import { addGetCommand, addPutCommand } from "./file-copy-commands.ts";
import { statusOf } from "./volume-commands.ts";
import type { DeleteFlags } from "./volume-deletion.ts";
import { deleteVolumes } from "./volume-deletion.ts";
import { findVolume } from "./volume-kind.ts";

interface CreateFlags {
  readonly size?: string;
}

interface TruncateFlags {
  readonly force?: boolean;
}

const groupHelp = `
A file has a name, NAME or SET/NAME, and bytes: any number, up to almost 256 TiB. Each part of the name is letters, digits, . _ -. Files and volumes have
their names in one place. Programs read and write parts of files through the library: docs/library.md.`;

const listExamples = `
USED is what a file takes on each replica. How long it is stands in the file itself: torusctl file get says it. STATUS is free, in-use, or stalled with the
reason; HOLDER is who has it open.

Examples:
  torusctl file list
  torusctl file list logs -o json               those named logs/...`;

const createExamples = `
The file has SIZE bytes of zeroes, none unless told; zeroes take no space. SIZE is a number, of bytes or with a unit (KiB, MiB, GiB, TiB; kB, MB, GB, TB are
powers of 1000).

Examples:
  torusctl file create logs/today
  torusctl file create scratch --size 10GiB`;

const deleteExamples = `
A file that somebody has open is only deleted with --force; one that has snapshots with --snapshots, or --force. What was in it cannot be brought back.

Examples:
  torusctl file delete logs/today
  torusctl file delete logs/1 logs/2 logs/3`;

const truncateExamples = `
Makes a file SIZE bytes long: what is behind goes for good, and a longer one has zeroes at its end. SIZE is a number, of bytes or with a unit. It is on disk on
every replica when this ends. A file that somebody has open is busy: --force takes it from him.

Examples:
  torusctl file truncate logs/today 0
  torusctl file truncate scratch 1.5GiB`;

export function addFileCommands(program: Command, context: TorusctlContext): void {
  const file = program
    .command("file")
    .helpCommand(false)
    .summary("put files into the cluster, get them back, list and delete them")
    .description("Files of the cluster: replicated as volumes are, of any length, without NBD.")
    .addHelpText("after", groupHelp);
  file
    .command("list")
    .summary("the files, what they take and who has them open")
    .description("Lists the files of the cluster.")
    .argument("[set]", "only those named SET/...")
    .addHelpText("after", listExamples)
    .action((set: string | undefined) => listFiles(set ?? null, context));
  file
    .command("create")
    .summary("make a file")
    .description("Makes a file.")
    .argument("<name>", "its name: NAME or SET/NAME")
    .addOption(new Option("--size <size>", "how long it is at first (default: 0)"))
    .addHelpText("after", createExamples)
    .action((name: string, flags: CreateFlags) => createFile(name, flags, context));
  addPutCommand(file.command("put"), context);
  addGetCommand(file.command("get"), context);
  file
    .command("delete")
    .summary("delete files for good")
    .description("Deletes files and all that is in them.")
    .argument("<names...>", "files to delete")
    .addOption(new Option("--snapshots", "its snapshots go too"))
    .addOption(new Option("--force", "also while open: who has it is cut off; and with snapshots"))
    .addHelpText("after", deleteExamples)
    .action((names: string[], flags: DeleteFlags) =>
      context.withCluster((cluster) => deleteVolumes(cluster, names, flags, context, "file")),
    );
  file
    .command("truncate")
    .summary("make a file shorter, or longer with zeroes")
    .description("Says how long a file is.")
    .argument("<name>", "the file")
    .argument("<size>", "its length, such as 0 or 20MiB")
    .addOption(new Option("--force", "take it from who has it open"))
    .addHelpText("after", truncateExamples)
    .action((name: string, size: string, flags: TruncateFlags) => truncateFile(name, size, flags, context));
}

const columns: readonly Column[] = [
  { title: "NAME" },
  { title: "USED", align: "right" },
  { title: "STATUS", colour: (cell) => (cell.startsWith("stalled") ? "yellow" : null) },
  { title: "SNAPSHOTS", align: "right" },
  { title: "HOLDER" },
];

async function listFiles(set: string | null, context: TorusctlContext): Promise<void> {
  const { revision, volumes } = await context.withCluster((cluster) => cluster.volumes.list());
  const files = volumes.filter(
    ({ spec }) => spec.kind === "file" && (set === null || spec.name.startsWith(`${set}/`)),
  );
  const { output } = context;
  const where = set === null ? "" : ` in ${set}`;
  output.print({
    json: { revision, files: files.map(fileJson) },
    columns,
    rows: files.map((state) => [
      state.spec.name,
      output.size(state.head?.usedBytes ?? 0),
      statusOf(state),
      `${state.snapshots.length}`,
      state.lease?.holder ?? "-",
    ]),
    footer: files.length === 0 ? [`no files yet${where}: torusctl file put LOCAL NAME`] : [],
  });
}

function fileJson(state: VolumeState): object {
  const { spec, snapshots, writer, lease, head } = state;
  const [status, reason = ""] = statusOf(state).split(": ");
  return {
    id: spec.id,
    name: spec.name,
    usedBytes: head?.usedBytes ?? 0,
    status,
    reason,
    holder: lease?.holder ?? null,
    epoch: writer.epoch,
    minReplicas: spec.minReplicas,
    createdMs: spec.createdMs,
    snapshots: snapshots.length,
  };
}

async function createFile(name: string, flags: CreateFlags, context: TorusctlContext): Promise<void> {
  const lengthBytes = parseFileLength(flags.size ?? "0");
  await context.withFiles((files) => files.createFile(name, (file) => file.truncate(lengthBytes)));
  const { output } = context;
  output.print({
    json: { name, lengthBytes },
    message: `created file ${name}: ${output.size(lengthBytes)}`,
  });
}

async function truncateFile(
  name: string,
  size: string,
  { force = false }: TruncateFlags,
  context: TorusctlContext,
): Promise<void> {
  const lengthBytes = parseFileLength(size);
  const beforeBytes = await context.withFiles(async (files, cluster) => {
    await findVolume(name, "file", cluster);
    const file = await files.openFile(name, { force });
    const { length } = file;
    try {
      await file.truncate(lengthBytes);
    } finally {
      await file.close();
    }
    return length;
  });
  const { output } = context;
  output.print({
    json: { name, lengthBytes, beforeBytes },
    message: `file ${name} has ${output.size(lengthBytes)}, it had ${output.size(beforeBytes)}`,
  });
}
