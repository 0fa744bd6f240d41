// torusctl volume snapshot (and block snapshot): take, list, delete, restore.

import { type Command, Option } from "commander";
import { systemClock } from "#host/node";
import type { ClusterMetadata, CutRecord, SnapshotRecord, VolumeState } from "#metadata";
import { requireName } from "#metadata";
import { TorusError } from "#model";
import { parseSnapshotName } from "#volume";
import { parseTime } from "../shared/duration.ts";
import type { Column } from "../shared/table.ts";
import { writerTimeout } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";

export interface SnapshotName {
  readonly volume: string;
  readonly snapshot: string;
}

/** `VOLUME@SNAPSHOT`; throws `invalid-argument`. */
export function parseSnapshot(text: string): SnapshotName {
  const name = parseSnapshotName(text);
  if (name === null) {
    throw new TorusError(
      "invalid-argument",
      `"${text}" names no snapshot: use VOLUME@SNAPSHOT, such as db@monday`,
    );
  }
  requireName(name.volume, "volume");
  requireName(name.snapshot, "snapshot");
  return name;
}

const createExamples = `
The snapshot has all that was answered before the command was given, flushed or not, and costs the same whatever the volume's size. A volume that is
attached goes on meanwhile: its writer takes the snapshot. One that is not is attached for the moment.

Examples:
  torusctl volume snapshot create db@monday
  torusctl volume snapshot create db@release-7 --label by=ci --label build=4711
  torusctl volume snapshot create db@before-the-mistake --at 2026-01-31T11:59:30Z`;

const restoreExamples = `
A volume that is attached is only restored with --force: whoever has it is cut off. What it is now is kept as a snapshot first, named before-restore- and the
time. Clients of before that may come back would go on with what they have in memory, which is not what the volume is any more: nobody is served until
you say that they have ended (torusctl volume accept-loss), and the answer says so.

Examples:
  torusctl volume snapshot restore db@monday
  torusctl volume snapshot restore db@monday --force`;

const listExamples = `
READ it as an NBD export of its full name, such as nbd://127.0.0.1:10809/db@monday, or through a clone.

Examples:
  torusctl volume snapshot list
  torusctl volume snapshot list db -o json`;

interface CreateFlags {
  readonly at?: number;
  readonly label?: Readonly<Record<string, string>>;
  readonly timeout: number;
}

export function addSnapshotCommands(parent: Command, context: TorusctlContext): void {
  const group = parent
    .command("snapshot")
    .helpCommand(false)
    .summary("take, list, delete and restore snapshots")
    .description("Snapshots: what a volume was at one moment, kept.");
  group
    .command("create")
    .summary("keep a volume as it is now")
    .description("Takes a snapshot.")
    .argument("<volume@snapshot>", "the volume, and the snapshot's name", parseSnapshot)
    .addOption(
      new Option("--label <key=value>", "say something about it; may be repeated").argParser(parseLabel),
    )
    .addOption(
      new Option(
        "--at <time>",
        "what the volume was then, from its history; ISO 8601, or such as -5m",
      ).argParser((text: string) => parseTime(text, "--at", systemClock.wallMs())),
    )
    .addOption(writerTimeout())
    .addHelpText("after", createExamples)
    .action((name: SnapshotName, flags: CreateFlags) => createSnapshot(name, flags, context));
  group
    .command("list")
    .summary("the snapshots there are")
    .description("Lists the snapshots of a volume, or of all.")
    .argument("[volume]", "only of this volume")
    .addHelpText("after", listExamples)
    .action((volume: string | undefined) =>
      context.withCluster((cluster) => listSnapshots(cluster, volume ?? null, context)),
    );
  group
    .command("delete")
    .summary("delete snapshots")
    .description("Deletes snapshots. Clones of them stay; who reads them gets errors.")
    .argument("<volume@snapshot...>", "snapshots to delete")
    .action((names: string[]) => context.withCluster((cluster) => deleteSnapshots(cluster, names, context)));
  group
    .command("restore")
    .summary("put a volume back to a snapshot")
    .description("Makes a volume what it was when the snapshot was taken.")
    .argument("<volume@snapshot>", "the snapshot", parseSnapshot)
    .addOption(new Option("--force", "also while attached: its writer is cut off"))
    .addHelpText("after", restoreExamples)
    .action((name: SnapshotName, flags: { readonly force?: boolean }) =>
      restoreSnapshot({ ...name, force: flags.force ?? false }, context),
    );
}

async function createSnapshot(
  { volume, snapshot: name }: SnapshotName,
  flags: CreateFlags,
  context: TorusctlContext,
): Promise<void> {
  const { label: labels = {}, at: atMs = null, timeout } = flags;
  const order = { volume, name, labels, atMs, timeoutMs: timeout * 1000 };
  const taken = await context.withVolumes((volumes) => volumes.takeSnapshot(order));
  const { output } = context;
  output.print({
    json: snapshotJson(volume, taken),
    message: `took snapshot ${volume}@${name}: ${output.size(taken.usedBytes)} in use of ${output.size(taken.sizeBytes)}`,
  });
}

const columns: readonly Column[] = [
  { title: "VOLUME" },
  { title: "SNAPSHOT" },
  { title: "SIZE", align: "right" },
  { title: "USED", align: "right" },
  { title: "TAKEN" },
  { title: "LABELS" },
];

async function listSnapshots(
  cluster: ClusterMetadata,
  volume: string | null,
  context: TorusctlContext,
): Promise<void> {
  const states =
    volume === null ? (await cluster.volumes.list()).volumes : [await cluster.volumes.find(volume)];
  const found = states.flatMap((state) => inOrder(state).map((snapshot) => ({ state, snapshot })));
  const { output } = context;
  const nowMs = systemClock.wallMs();
  output.print({
    json: { snapshots: found.map(({ state, snapshot }) => snapshotJson(state.spec.name, snapshot)) },
    columns,
    rows: found.map(({ state, snapshot }) => [
      state.spec.name,
      snapshot.name,
      output.size(snapshot.sizeBytes),
      output.size(snapshot.usedBytes),
      output.time(snapshot.createdMs, nowMs),
      describeLabels(snapshot.labels),
    ]),
    footer: found.length === 0 ? ["no snapshots yet: torusctl volume snapshot create VOLUME@NAME"] : [],
  });
}

function inOrder({ snapshots }: VolumeState): SnapshotRecord[] {
  return [...snapshots].sort((a, b) => a.createdMs - b.createdMs);
}

function describeLabels(labels: Readonly<Record<string, string>>): string {
  const shown = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return shown.length === 0 ? "-" : shown.join(" ");
}

function snapshotJson(volume: string, snapshot: SnapshotRecord): object {
  const { name, sizeBytes, usedBytes, createdMs, epoch, labels } = snapshot;
  return { volume, name, sizeBytes, usedBytes, createdMs, epoch, labels };
}

async function deleteSnapshots(
  cluster: ClusterMetadata,
  names: readonly string[],
  context: TorusctlContext,
): Promise<void> {
  const parsed = [...new Set(names)].map((text) => ({ text, ...parseSnapshot(text) }));
  const deleted: string[] = [];
  try {
    for (const { text, volume, snapshot } of parsed) {
      await cluster.snapshots.delete(volume, snapshot);
      deleted.push(text);
    }
  } finally {
    if (deleted.length > 0)
      context.output.print({ json: { deleted }, message: `deleted ${deleted.join(", ")}` });
  }
}

async function restoreSnapshot(
  order: SnapshotName & { readonly force: boolean },
  context: TorusctlContext,
): Promise<void> {
  const { volume } = order;
  const { snapshot, kept, replaced, cut } = await context.withVolumes((volumes) =>
    volumes.restoreSnapshot(order),
  );
  const { output } = context;
  output.print({
    json: { restored: snapshotJson(volume, snapshot), kept: snapshotJson(volume, kept), replaced, cut },
    message: `volume ${volume} is what it was at ${volume}@${snapshot.name}; what it was before is kept as ${volume}@${kept.name}`,
  });
  if (replaced !== null) output.warn(`${replaced} had volume ${volume} attached and was cut off`);
  if (cut !== null) output.warn(cutOff(volume, cut));
}

/** Whose clients must have ended before a volume is served again. */
export function cutOff(volume: string, { previousHolder }: CutRecord): string {
  const whose = previousHolder === "" ? "clients of before" : `clients of ${previousHolder}`;
  return `${whose} are cut off: end them, then torusctl volume accept-loss ${volume}; until then it is served to nobody`;
}

/** KEY=VALUE, added to those before. */
function parseLabel(
  text: string,
  before: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1)
    throw new TorusError("invalid-argument", `--label "${text}" is not KEY=VALUE`);
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}
