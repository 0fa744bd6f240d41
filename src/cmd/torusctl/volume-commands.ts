// torusctl volume: block devices of the cluster.

import { type Command, Option } from "commander";
import type { ClusterMetadata, VolumeState } from "#metadata";
import { historyBytes, isAttached, unlimited } from "#metadata";
import { replicasMax, TorusError } from "#model";
import type { RingDescription } from "#ring";
import { plainRing } from "#ring";
import { formatDuration } from "../shared/duration.ts";
import type { Output } from "../shared/output.ts";
import type { Column } from "../shared/table.ts";
import { addAcceptLossCommand } from "./accept-loss-command.ts";
import { parseCount, parseVolumeSize } from "./arguments.ts";
import { addCreateCommand as addBackupCommand } from "./backup-commands.ts";
import { addCloneCommands } from "./clone-commands.ts";
import type { TorusctlContext } from "./context.ts";
import type { KeepHistory } from "./history-commands.ts";
import { addHistoryCommands, historyJson, keepHistoryOption, keepMsOf } from "./history-commands.ts";
import { addImageCommands } from "./image-commands.ts";
import type { LimitFlags } from "./limit-options.ts";
import { addLimitOptions, limitsOf } from "./limit-options.ts";
import { addResizeCommand } from "./resize-command.ts";
import { addSetCommand } from "./set-command.ts";
import { addSnapshotCommands } from "./snapshot-commands.ts";
import type { DeleteFlags } from "./volume-deletion.ts";
import { deleteVolumes } from "./volume-deletion.ts";

interface CreateFlags extends LimitFlags {
  readonly acknowledge: "replicated" | "writeback";
  readonly minReplicas?: number;
  readonly keepHistory?: KeepHistory;
}

const createExamples = `
SIZE is a number and a unit (KiB, MiB, GiB, TiB; kB, MB, GB, TB are powers of 1000), a multiple of 4 KiB, up to 256TiB. Space is
taken as it is written.

--acknowledge decides when a write is answered: replicated (every copy has it), or writeback (it is buffered at the client: faster,
a crash of the client loses what was not flushed). A flush is answered only when all is on disk, in both.

--iops and --bandwidth limit what clients of the volume may ask for: see torusctl volume set --help.

Examples:
  torusctl volume create-block db 20GiB
  torusctl volume create-block mail 1TiB --keep-history 24h
  torusctl volume create-block scratch 1.5TiB --acknowledge writeback --min-replicas 1`;

const listExamples = `
STATUS is free, in-use, or stalled with the reason; HOLDER is who has it attached. REPLICAS is how many copies are made, and how many
there must be at least for writes to go on. TYPE is block, or clone as long as it shares blocks with another volume, or file: those have no size of their own
here, and torusctl file list. "cut off" behind the status: see torusctl volume accept-loss --help.

Examples:
  torusctl volume list
  torusctl volume list -o json`;

const deleteExamples = `
A volume that is attached is only deleted with --force; one that has snapshots with --snapshots, or --force. One that clones need the blocks of is not
deleted at all: delete them, or flatten them first. What was in it cannot be brought back.

Examples:
  torusctl volume delete scratch
  torusctl volume delete old-1 old-2 old-3`;

export function addVolumeCommands(program: Command, context: TorusctlContext): void {
  const volume = program
    .command("volume")
    .helpCommand(false)
    .summary("create, list, resize, limit, clone and delete volumes, and their snapshots")
    .description(
      "Creates, lists, resizes, limits, clones and deletes volumes, the block devices of the cluster, and their snapshots.",
    );
  addCreateCommand(volume.command("create-block"), context);
  volume
    .command("list")
    .summary("the volumes, their size and state")
    .description("Lists the volumes of the cluster.")
    .addHelpText("after", listExamples)
    .action(() => context.withCluster((cluster) => listVolumes(cluster, context)));
  volume
    .command("delete")
    .summary("delete volumes for good")
    .description("Deletes volumes and all that is in them.")
    .argument("<names...>", "volumes to delete")
    .addOption(new Option("--snapshots", "its snapshots go too"))
    .addOption(new Option("--force", "also while attached: its writer is cut off; and with snapshots"))
    .addHelpText("after", deleteExamples)
    .action((names: string[], flags: DeleteFlags) =>
      context.withCluster((cluster) => deleteVolumes(cluster, names, flags, context)),
    );
  addResizeCommand(volume.command("resize"), context);
  addSetCommand(volume.command("set"), context);
  addAcceptLossCommand(volume, context);
  addCloneCommands(volume, context);
  addSnapshotCommands(volume, context);
  addBackupCommand(volume.command("backup"), context);
  addHistoryCommands(volume, context);
  const block = program
    .command("block")
    .helpCommand(false)
    .summary("raw images in and out; and volume's commands by other names")
    .description(
      "Block volumes as raw images. block create is volume create-block; resize and snapshot are those of volume.",
    );
  addCreateCommand(block.command("create"), context);
  addResizeCommand(block.command("resize"), context);
  addSnapshotCommands(block, context);
  addImageCommands(block, context);
}

function addCreateCommand(command: Command, context: TorusctlContext): void {
  addLimitOptions(command)
    .summary("make a volume")
    .description("Makes a volume.")
    .argument("<name>", "its name: letters, digits, . _ -")
    .argument("<size>", "its size, such as 20GiB")
    .addOption(
      new Option("--acknowledge <mode>", "when a write is answered")
        .choices(["replicated", "writeback"])
        .default("replicated"),
    )
    .addOption(
      new Option(
        "--min-replicas <n>",
        "copies there must be for writes to go on (default: 2, or less if there are less)",
      ).argParser(parseCount("--min-replicas", 1, replicasMax)),
    )
    .addOption(keepHistoryOption())
    .addHelpText("after", createExamples)
    .action((name: string, size: string, flags: CreateFlags) =>
      context.withCluster((cluster) => createVolume(cluster, name, size, flags, context)),
    );
}

async function createVolume(
  cluster: ClusterMetadata,
  name: string,
  size: string,
  flags: CreateFlags,
  context: TorusctlContext,
): Promise<void> {
  const sizeBytes = parseVolumeSize(size);
  const { replicas } = await cluster.rings.current();
  const minReplicas = flags.minReplicas ?? Math.min(2, replicas);
  if (minReplicas > replicas) {
    throw new TorusError(
      "invalid-argument",
      `--min-replicas ${minReplicas} is more than the ring's ${replicas} copies, so nothing could be written: see torusctl ring set-replication`,
    );
  }
  const { acknowledge, keepHistory = "none" } = flags;
  const qos = limitsOf(flags, unlimited);
  const keepHistoryMs = keepMsOf(keepHistory);
  const request = { name, sizeBytes, acknowledge, minReplicas, keepHistoryMs, qos };
  const spec = await cluster.volumes.create(request);
  const { output } = context;
  output.print({
    json: spec,
    message: `created volume ${spec.name}: ${output.size(spec.sizeBytes)}, attach it with torusblk`,
  });
}

const columns: readonly Column[] = [
  { title: "NAME" },
  { title: "SIZE", align: "right" },
  { title: "USED", align: "right" },
  { title: "LOG", align: "right" },
  { title: "TYPE" },
  { title: "STATUS", colour: (cell) => (/^stalled|cut off$/.test(cell) ? "yellow" : null) },
  { title: "SNAPSHOTS", align: "right" },
  { title: "HISTORY" },
  { title: "ACK" },
  { title: "REPLICAS" },
  { title: "HOLDER" },
];

async function listVolumes(cluster: ClusterMetadata, context: TorusctlContext): Promise<void> {
  const ring = plainRing(await cluster.rings.current());
  const { revision, volumes } = await cluster.volumes.list();
  const { blockBytes } = await cluster.load();
  const { output } = context;
  const cut = volumes.filter((state) => state.cut !== null).map((state) => state.spec.name);
  const footer =
    cut.length === 0
      ? []
      : [`cut off: torusctl volume accept-loss ${cut.join(" ")}, when the clients of before have ended`];
  output.print({
    json: { revision, volumes: volumes.map((state) => volumeJson(state, ring, blockBytes)) },
    columns,
    rows: volumes.map((state) => [
      state.spec.name,
      isFile(state) ? "-" : output.size(state.spec.sizeBytes),
      output.size(state.head?.usedBytes ?? 0),
      output.size(state.head?.logBytes ?? 0),
      state.origin === null ? state.spec.kind : "clone",
      state.cut === null ? statusOf(state) : `${statusOf(state)}, cut off`,
      `${state.snapshots.length}`,
      historyOf(state, output, blockBytes),
      state.spec.acknowledge,
      `${ring.replicas} (min ${state.spec.minReplicas})`,
      state.lease?.holder ?? "-",
    ]),
    footer: volumes.length === 0 ? ["no volumes yet: torusctl volume create-block NAME SIZE"] : footer,
  });
}

export function statusOf(state: VolumeState): string {
  if (!isAttached(state)) return "free";
  const condition = state.status?.condition ?? "";
  return condition === "" ? "in-use" : `stalled: ${condition}`;
}

/** How far back it is to reach, and what that costs. */
function historyOf({ history, head }: VolumeState, output: Output, blockBytes: number): string {
  if (history === null) return "-";
  return `${formatDuration(history.keepMs)}, ${output.size(historyBytes(history, head, blockBytes))}`;
}

/** How long a file is stands in the file; the size of the volume it is on says only how long one can be. */
function isFile({ spec }: VolumeState): boolean {
  return spec.kind === "file";
}

function volumeJson(state: VolumeState, ring: RingDescription, blockBytes: number): object {
  const { spec, origin, snapshots, writer, lease, head, status } = state;
  return {
    id: spec.id,
    name: spec.name,
    type: spec.kind,
    sizeBytes: isFile(state) ? null : spec.sizeBytes,
    usedBytes: head?.usedBytes ?? 0,
    logBytes: head?.logBytes ?? 0,
    status: statusOf(state).split(":")[0],
    reason: isAttached(state) ? (status?.condition ?? "") : "",
    holder: lease?.holder ?? null,
    cut: state.cut,
    epoch: writer.epoch,
    acknowledge: spec.acknowledge,
    replicas: ring.replicas,
    minReplicas: spec.minReplicas,
    qos: spec.qos,
    createdMs: spec.createdMs,
    snapshots: snapshots.length,
    history: historyJson(state, blockBytes),
    origin: origin === null ? null : { volume: origin.name, snapshot: origin.snapshot },
  };
}
