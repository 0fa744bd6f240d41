// torusctl volume history, volume restore --at: a volume as it was at any time.

import { type Command, Option } from "commander";
import { systemClock, systemRandom } from "#host/node";
import type { ClusterMetadata, VolumeState } from "#metadata";
import { historyBytes } from "#metadata";
import { TorusError } from "#model";
import type { ClusterVolumes } from "#volume";
import { formatDuration, parseDuration, parseTime } from "../shared/duration.ts";
import type { Column } from "../shared/table.ts";
import { parseCount } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";
import { cutOff } from "./snapshot-commands.ts";

const timeoutSecondsMax = 24 * 3600;

const restoreExamples = `
TIME is ISO 8601 with a zone, or so long before now: 90s, 5m, 2h, 1d. What is restored is all that was answered by then, flushed or not, and nothing that
was issued later, by the clock of whoever had the volume attached.

--to makes a new volume of it and leaves this one alone, attached or not. --in-place puts the volume itself back; what it was until now is kept as a snapshot,
named before-restore- and the time. It must not be attached, or --force cuts its writer off.

Examples:
  torusctl volume restore db --at 2026-01-31T11:59:30Z --to db-before
  torusctl volume restore db --at -5m --in-place`;

const historyExamples = `
The volume can be restored to any time since the first point. A point is where a restore begins to replay the log: LOG is what was written since the one before.

Examples:
  torusctl volume history db`;

interface RestoreFlags {
  readonly at: number;
  readonly to?: string;
  readonly inPlace?: boolean;
  readonly force?: boolean;
  readonly timeout: number;
}

/** Milliseconds, or none. */
export type KeepHistory = number | "none";

export function keepHistoryOption(): Option {
  return new Option(
    "--keep-history <time>",
    "how far back it can be restored, such as 24h, or none",
  ).argParser(
    (text: string): KeepHistory => (text === "none" ? text : parseDuration(text, "--keep-history")),
  );
}

export function addHistoryCommands(volume: Command, context: TorusctlContext): void {
  volume
    .command("history")
    .summary("the times a volume can be restored to")
    .description("Shows how far back a volume can be restored, and what that costs.")
    .argument("<name>", "the volume")
    .addHelpText("after", historyExamples)
    .action((name: string) => context.withCluster((cluster) => showHistory(cluster, name, context)));
  volume
    .command("restore")
    .summary("what a volume was at a time, from its history")
    .description("Makes a new volume of what a volume was at a time, or puts it back to that.")
    .argument("<name>", "the volume")
    .addOption(
      new Option("--at <time>", "the time")
        .argParser((text: string) => parseTime(text, "--at", systemClock.wallMs()))
        .makeOptionMandatory(),
    )
    .addOption(new Option("--to <name>", "make this volume of it").conflicts(["inPlace", "force"]))
    .addOption(new Option("--in-place", "put the volume itself back"))
    .addOption(new Option("--force", "also while attached: its writer is cut off"))
    .addOption(
      new Option("--timeout <seconds>", "how long the volume's writer may take")
        .default(600)
        .argParser(parseCount("--timeout", 1, timeoutSecondsMax)),
    )
    .addHelpText("after", restoreExamples)
    .action((name: string, flags: RestoreFlags) => restoreVolume(name, flags, context));
}

export function describeKeeping(keepHistoryMs: number | null): string {
  return keepHistoryMs === null
    ? "keeps no history any more"
    : `can be restored to any time of the last ${formatDuration(keepHistoryMs)}, from its next checkpoint on`;
}

export function keepMsOf(keep: KeepHistory): number | null {
  return keep === "none" ? null : keep;
}

/** As `volume list` shows it. */
export function historyJson({ history, head }: VolumeState, blockBytes: number): object | null {
  if (history === null) return null;
  const sinceMs = history.points.at(0)?.timeMs ?? null;
  return { keepMs: history.keepMs, sinceMs, bytes: historyBytes(history, head, blockBytes) };
}

const columns: readonly Column[] = [
  { title: "POINT" },
  { title: "AGE" },
  { title: "SIZE", align: "right" },
  { title: "USED", align: "right" },
  { title: "LOG", align: "right" },
];

async function showHistory(
  cluster: ClusterMetadata,
  name: string,
  { output }: TorusctlContext,
): Promise<void> {
  const [state, { blockBytes }] = await Promise.all([cluster.volumes.find(name), cluster.load()]);
  const { history, head } = state;
  if (history === null) {
    throw new TorusError(
      "not-found",
      `volume "${name}" keeps no history: torusctl volume set ${name} --keep-history 24h begins one`,
    );
  }
  const nowMs = systemClock.wallMs();
  const points = history.points.map(({ timeMs, sizeBytes, usedBytes, blocks }, i) => {
    const before = history.points.at(i - 1)?.blocks ?? 0;
    return { timeMs, sizeBytes, usedBytes, logBytes: i === 0 ? 0 : (blocks - before) * blockBytes };
  });
  const cost = output.size(historyBytes(history, head, blockBytes));
  output.print({
    json: { name, ...historyJson(state, blockBytes), points },
    columns,
    rows: points.map(({ timeMs, sizeBytes, usedBytes, logBytes }) => [
      new Date(timeMs).toISOString(),
      output.time(timeMs, nowMs),
      output.size(sizeBytes),
      output.size(usedBytes),
      output.size(logBytes),
    ]),
    footer: [
      `keeps ${formatDuration(history.keepMs)}; ${cost} of each copy are there for it alone, or for snapshots`,
    ],
  });
}

async function restoreVolume(name: string, flags: RestoreFlags, context: TorusctlContext): Promise<void> {
  const { to, inPlace = false } = flags;
  if (to === undefined && !inPlace) {
    throw new TorusError(
      "invalid-argument",
      "say whether to make a new volume of it (--to NAME) or to put this one back (--in-place)",
    );
  }
  await context.withVolumes(async (volumes, cluster) => {
    const { at: atMs, timeout } = flags;
    const snapshot = `at-${compact(atMs)}-${systemRandom.uuid().slice(0, 8)}`;
    const order = { volume: name, name: snapshot, labels: {}, atMs, timeoutMs: timeout * 1000 };
    await volumes.takeSnapshot(order);
    try {
      if (to !== undefined) await makeClone(cluster, { volume: name, snapshot, to, atMs }, context);
      else await putBack(volumes, { volume: name, snapshot, atMs, force: flags.force ?? false }, context);
    } finally {
      // The clone, or the head, has its INode now; where there is neither, nobody needs it.
      await cluster.snapshots.delete(name, snapshot);
    }
  });
}

async function makeClone(
  cluster: ClusterMetadata,
  order: { readonly volume: string; readonly snapshot: string; readonly to: string; readonly atMs: number },
  { output }: TorusctlContext,
): Promise<void> {
  const { volume, snapshot, to, atMs } = order;
  const same = { sizeBytes: null, acknowledge: null, minReplicas: null };
  const spec = await cluster.clones.create({ volume, snapshot, name: to, ...same });
  output.print({
    json: { volume, atMs, ...spec },
    message: `volume ${to} is what ${volume} was at ${new Date(atMs).toISOString()}: ${output.size(spec.sizeBytes)}, attach it with torusblk`,
  });
}

async function putBack(
  volumes: ClusterVolumes,
  order: {
    readonly volume: string;
    readonly snapshot: string;
    readonly atMs: number;
    readonly force: boolean;
  },
  { output }: TorusctlContext,
): Promise<void> {
  const { volume, atMs } = order;
  const { kept, replaced, cut } = await volumes.restoreSnapshot(order);
  output.print({
    json: { volume, atMs, kept: kept.name, replaced, cut },
    message: `volume ${volume} is what it was at ${new Date(atMs).toISOString()}; what it was before is kept as ${volume}@${kept.name}`,
  });
  if (replaced !== null) output.warn(`${replaced} had volume ${volume} attached and was cut off`);
  if (cut !== null) output.warn(cutOff(volume, cut));
}

/** `20260131T115930.000Z`. */
function compact(atMs: number): string {
  return new Date(atMs).toISOString().replaceAll(/[-:]/g, "");
}
