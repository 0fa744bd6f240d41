// torusctl backup: volumes in a directory or an S3 bucket, and back in any cluster.

import { type Command, Option } from "commander";
import type { BackupDone, BackupManifest, BackupTarget, SourceVolume } from "#backup";
import { isChunkSize, makeBackup, Repository, unlock } from "#backup";
import { systemClock, systemRandom } from "#host/node";
import { parseBytes, TorusError } from "#model";
import { parseSnapshotName } from "#volume";
import type { Column } from "../shared/table.ts";
import { addCheckCommand, addDeleteCommand } from "./backup-care-commands.ts";
import { addRestoreCommand } from "./backup-restore-command.ts";
import type { TargetFlags } from "./backup-target.ts";
import { addTargetOptions, openTarget, targetHelp } from "./backup-target.ts";
import { ClusterSource } from "./cluster-source.ts";
import type { TorusctlContext } from "./context.ts";
import { addProgressOption, progressBarOf } from "./copy-progress.ts";

interface CreateFlags extends TargetFlags {
  readonly chunkSize?: string;
  readonly progress?: boolean;
}

const createExamples = `
The volume is backed up as it is at one moment, also while it is attached. The first backup reads all of it; later ones only what changed since the
last: for that its snapshot, named backup- and the time, is kept in the cluster until the next backup is done. One that was stopped, killed or failed
goes on when the command is given again, and is followed by one of the present.

Content lies in the target in chunks under their SHA-256, compressed, each once, whatever volumes have it.
${targetHelp}

Examples:
  torusctl backup create db /mnt/backups
  torusctl backup create db@monday s3://backups/torus --s3-endpoint http://10.0.0.7:9000`;

const unlockExamples = `
Deleting runs alone. A deletion that was killed leaves its lock behind, which nobody else can tell from one that runs: remove it when you know that none does.

Examples:
  torusctl backup unlock /mnt/backups`;

export function addBackupCommands(program: Command, context: TorusctlContext): void {
  const group = program
    .command("backup")
    .helpCommand(false)
    .summary("back up volumes to a directory or S3, and restore them")
    .description("Backups of volumes: incremental, in a directory or an S3 bucket, restored to any cluster.");
  addCreateCommand(group.command("create"), context);
  addTargetOptions(group.command("list"))
    .summary("the backups there are")
    .description("Lists the backups in a target.")
    .argument("<target>", "where they are")
    .argument("[volume]", "only of this volume")
    .addHelpText("after", targetHelp)
    .action((target: string, volume: string | undefined, flags: TargetFlags) =>
      list(openTarget(target, flags, context.io), volume ?? null, context),
    );
  addRestoreCommand(group.command("restore"), context);
  addCheckCommand(group.command("check"), context);
  addDeleteCommand(group.command("delete"), context);
  addTargetOptions(group.command("unlock"))
    .summary("remove the lock of a deletion that died")
    .description("Removes the lock of a deletion that is dead for certain.")
    .argument("<target>", "where it is")
    .addHelpText("after", unlockExamples)
    .action(async (target: string, flags: TargetFlags) => {
      const holders = await unlock(openTarget(target, flags, context.io));
      const message =
        holders.length === 0 ? "no deletion had a lock" : `unlocked what ${holders.join(", ")} had`;
      context.output.print({ json: { unlocked: holders }, message });
    });
}

export function addCreateCommand(command: Command, context: TorusctlContext): void {
  addProgressOption(addTargetOptions(command))
    .summary("back up a volume")
    .description("Makes a backup of a volume, or of a snapshot.")
    .argument("<volume>", "the volume, or VOLUME@SNAPSHOT")
    .argument("<target>", "where backups are kept")
    .addOption(new Option("--chunk-size <size>", "of a new target, 64KiB to 4MiB (default: 256KiB)"))
    .addHelpText("after", createExamples)
    .action((name: string, target: string, flags: CreateFlags) =>
      create(name, openTarget(target, flags, context.io), flags, context),
    );
}

async function create(
  name: string,
  target: BackupTarget,
  flags: CreateFlags,
  context: TorusctlContext,
): Promise<void> {
  const chunkBytes = parseChunkSize(flags.chunkSize);
  const { volume, snapshot } = parseSnapshotName(name) ?? { volume: name, snapshot: null };
  const { first, done } = await context.untilStopped((signal) =>
    context.withVolumes(async (volumes, cluster) => {
      const source = await ClusterSource.of(volume, volumes, cluster);
      const outside = { clock: systemClock, random: systemRandom };
      const repository = await Repository.openOrCreate(chunkBytes, { target, ...outside });
      const once = (): Promise<BackupDone> =>
        makeOne(snapshot, signal, { repository, source }, flags, context);
      const made = await once();
      // What went on is the volume as it was when that began: one of the present was asked for.
      return made.isResumed && snapshot === null
        ? { first: made, done: await once() }
        : { first: made, done: made };
    }),
  );
  const { manifest } = done;
  const { output } = context;
  const base = manifest.parent === null ? "all of it read" : `what changed since ${manifest.parent}`;
  output.print({
    json: {
      ...backupJson(manifest),
      target: target.place,
      resumed: first.isResumed ? first.manifest.name : null,
    },
    message: `backed up ${volume}@${manifest.name} to ${target.place}: ${base}, ${output.size(manifest.readBytes)} read, ${output.size(manifest.sentBytes)} sent`,
  });
}

async function makeOne(
  snapshot: string | null,
  signal: AbortSignal,
  deps: { readonly repository: Repository; readonly source: SourceVolume },
  flags: CreateFlags,
  context: TorusctlContext,
): Promise<BackupDone> {
  const bar = progressBarOf(`backing up ${deps.source.identity.name}`, flags, context);
  try {
    return await makeBackup(
      {
        snapshot,
        holder: `torusctl ${context.io.pid} on ${context.io.host}`,
        signal,
        onProgress: ({ doneBytes, totalBytes }) => bar.update(doneBytes, totalBytes),
        tell: (message) => context.tell(message),
      },
      { ...deps, clock: systemClock, random: systemRandom },
    );
  } finally {
    bar.end();
  }
}

function parseChunkSize(text: string | undefined): number | null {
  if (text === undefined) return null;
  const bytes = parseBytes(text, "--chunk-size");
  if (isChunkSize(bytes)) return bytes;
  throw new TorusError(
    "invalid-argument",
    `--chunk-size "${text}" is not 64KiB, 128KiB, 256KiB, 512KiB, 1MiB, 2MiB or 4MiB`,
  );
}

const columns: readonly Column[] = [
  { title: "BACKUP" },
  { title: "SIZE", align: "right" },
  { title: "USED", align: "right" },
  { title: "SENT", align: "right" },
  { title: "BASE" },
  { title: "OF" },
];

async function list(target: BackupTarget, volume: string | null, { output }: TorusctlContext): Promise<void> {
  const repository = await Repository.open({ target });
  const manifests: BackupManifest[] = [];
  for (const name of await repository.names(volume)) manifests.push(await repository.manifest(name));
  const unfinished = await repository.unfinishedNames(volume);
  const nowMs = systemClock.wallMs();
  output.print({
    json: {
      target: target.place,
      chunkBytes: repository.record.chunkBytes,
      backups: manifests.map(backupJson),
      unfinished,
    },
    columns,
    rows: manifests.map((manifest) => [
      `${manifest.volume.name}@${manifest.name}`,
      output.size(manifest.sizeBytes),
      output.size(manifest.contentBytes),
      output.size(manifest.sentBytes),
      manifest.parent ?? "-",
      output.time(manifest.snapshot.createdMs, nowMs),
    ]),
    footer: [
      ...(manifests.length === 0 ? ["no backups yet: torusctl backup create VOLUME TARGET"] : []),
      ...unfinished.map(
        (one) => `unfinished: ${one.volume}@${one.name}; torusctl backup create goes on with it`,
      ),
    ],
  });
}

export function backupJson(manifest: BackupManifest): object {
  const {
    volume,
    name,
    snapshot,
    sizeBytes,
    contentBytes,
    readBytes,
    sentBytes,
    parent,
    createdMs,
    finishedMs,
  } = manifest;
  return {
    volume: volume.name,
    name,
    cluster: volume.cluster,
    snapshot: snapshot.name,
    takenMs: snapshot.createdMs,
    sizeBytes,
    contentBytes,
    readBytes,
    sentBytes,
    parent,
    createdMs,
    finishedMs,
  };
}
