// torusctl backup restore: a backup becomes a new volume, in this cluster or another.

import { type Command, Option } from "commander";
import type { BackupManifest, BackupName } from "#backup";
import { Repository, restoreBackup } from "#backup";
import { replicasMax, TorusError } from "#model";
import type { ClusterVolumes } from "#volume";
import type { ProgressBar } from "../shared/progress-bar.ts";
import { parseCount } from "./arguments.ts";
import type { TargetFlags } from "./backup-target.ts";
import { addTargetOptions, openTarget, targetHelp } from "./backup-target.ts";
import type { TorusctlContext } from "./context.ts";
import type { ProgressFlags } from "./copy-progress.ts";
import { addProgressOption, progressBarOf } from "./copy-progress.ts";
import { intoNewVolume } from "./new-volume.ts";

interface RestoreFlags extends TargetFlags, ProgressFlags {
  readonly acknowledge: "replicated" | "writeback";
  readonly minReplicas?: number;
}

const examples = `
The volume is made; one of that name must not be there. Every chunk is verified before it is written. When restoring fails, the volume is deleted again.
${targetHelp}

Examples:
  torusctl backup restore /mnt/backups db db-again
  torusctl backup restore s3://backups/torus db@20260131T020000.000Z db`;

export function addRestoreCommand(command: Command, context: TorusctlContext): void {
  addProgressOption(addTargetOptions(command))
    .summary("make a volume from a backup")
    .description("Makes a volume that has what a backup has.")
    .argument("<target>", "where the backup is")
    .argument("<volume@backup>", "the backup; VOLUME alone is its last")
    .argument("<name>", "the new volume's name")
    .addOption(
      new Option("--acknowledge <mode>", "when a write is answered")
        .choices(["replicated", "writeback"])
        .default("replicated"),
    )
    .addOption(
      new Option(
        "--min-replicas <n>",
        "copies there must be (default: 2, or less if there are less)",
      ).argParser(parseCount("--min-replicas", 1, replicasMax)),
    )
    .addHelpText("after", examples)
    .action((target: string, from: string, name: string, flags: RestoreFlags) =>
      restore(target, from, name, flags, context),
    );
}

async function restore(
  place: string,
  from: string,
  name: string,
  flags: RestoreFlags,
  context: TorusctlContext,
): Promise<void> {
  const target = openTarget(place, flags, context.io);
  const repository = await Repository.open({ target });
  const manifest = await repository.manifest(await newest(from, repository));
  const { sizeBytes } = manifest;
  const spec = { name, sizeBytes, acknowledge: flags.acknowledge, minReplicas: flags.minReplicas ?? null };
  const backed = { manifest, repository };
  const bar = progressBarOf(`restoring ${name}`, flags, context);
  const writtenBytes = await context.untilStopped((signal) =>
    context.withVolumes((volumes, cluster) =>
      intoNewVolume(spec, cluster, context, () => write(backed, name, volumes, { signal, bar })),
    ),
  );
  const { output } = context;
  const backup = `${manifest.volume.name}@${manifest.name}`;
  output.print({
    json: { volume: name, backup, target: target.place, sizeBytes, writtenBytes },
    message: `restored ${backup} as volume ${name}: ${output.size(writtenBytes)} written of ${output.size(sizeBytes)}`,
  });
}

async function write(
  { manifest, repository }: { readonly manifest: BackupManifest; readonly repository: Repository },
  into: string,
  volumes: ClusterVolumes,
  { signal, bar }: { readonly signal: AbortSignal; readonly bar: ProgressBar },
): Promise<number> {
  const volume = await volumes.attachNow(into, { force: false });
  try {
    const onProgress = (doneBytes: number): void => bar.update(doneBytes, manifest.contentBytes);
    return await restoreBackup(manifest, repository, volume, { signal, onProgress });
  } finally {
    bar.end();
    await volume.close();
  }
}

/** `VOLUME@BACKUP`, or the last of `VOLUME`. */
async function newest(text: string, repository: Repository): Promise<BackupName> {
  const named = parseBackupName(text);
  if (named !== null) return named;
  const last = (await repository.names(text)).at(-1);
  if (last !== undefined) return last;
  throw new TorusError("not-found", `${repository.target.place} has no backup of a volume "${text}"`);
}

/** Null: only a volume's name. */
export function parseBackupName(text: string): BackupName | null {
  const at = text.indexOf("@");
  if (at === -1) return null;
  const [volume, name] = [text.slice(0, at), text.slice(at + 1)];
  if (/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(volume) && /^[A-Za-z0-9][A-Za-z0-9.]*$/.test(name))
    return { volume, name };
  throw new TorusError(
    "invalid-argument",
    `"${text}" names no backup: use VOLUME@BACKUP, as torusctl backup list shows it`,
  );
}
