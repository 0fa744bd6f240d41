// torusctl backup check and delete: whether backups are whole, and fewer of them.

import { type Command, Option } from "commander";
import type { BackupName } from "#backup";
import { checkBackups, deleteBackups, Repository } from "#backup";
import { systemClock, systemRandom } from "#host/node";
import { TorusError } from "#model";
import { parseBackupName } from "./backup-restore-command.ts";
import type { TargetFlags } from "./backup-target.ts";
import { addTargetOptions, openTarget, targetHelp } from "./backup-target.ts";
import type { TorusctlContext } from "./context.ts";
import type { ProgressFlags } from "./copy-progress.ts";
import { addProgressOption, progressBarOf } from "./copy-progress.ts";

interface CheckFlags extends TargetFlags, ProgressFlags {
  readonly quick?: boolean;
}

const checkExamples = `
Reads every chunk that the backups have, once, and compares its hash; --quick only looks whether it is there. Ends with 1 when something is wrong, and says
which backups that hurts.
${targetHelp}

Examples:
  torusctl backup check /mnt/backups
  torusctl backup check s3://backups/torus db --quick`;

const deleteExamples = `
What no other backup needs of them is removed. While a backup is being made nothing is deleted, and the other way round. Without names only what no
backup needs is removed, such as what is left of one that was given up.
${targetHelp}

Examples:
  torusctl backup delete /mnt/backups db@20260131T020000.000Z
  torusctl backup delete s3://backups/torus`;

export function addCheckCommand(command: Command, context: TorusctlContext): void {
  addProgressOption(addTargetOptions(command))
    .summary("whether backups are whole")
    .description("Checks the backups in a target.")
    .argument("<target>", "where they are")
    .argument("[volume@backup]", "only this one; VOLUME alone: all of that volume")
    .addOption(new Option("--quick", "only whether all is there"))
    .addHelpText("after", checkExamples)
    .action((target: string, which: string | undefined, flags: CheckFlags) =>
      check(target, which ?? null, flags, context),
    );
}

export function addDeleteCommand(command: Command, context: TorusctlContext): void {
  addTargetOptions(command)
    .summary("delete backups")
    .description("Deletes backups, and what no other needs of them.")
    .argument("<target>", "where they are")
    .argument("[volume@backup...]", "backups to delete")
    .addHelpText("after", deleteExamples)
    .action((target: string, names: string[], flags: TargetFlags) => remove(target, names, flags, context));
}

async function check(
  place: string,
  which: string | null,
  flags: CheckFlags,
  context: TorusctlContext,
): Promise<void> {
  const target = openTarget(place, flags, context.io);
  const repository = await Repository.open({ target });
  const named = which === null ? null : parseBackupName(which);
  const names = named === null ? await repository.names(which) : [named];
  if (names.length === 0 && which !== null)
    throw new TorusError("not-found", `${target.place} has no backup of a volume "${which}"`);
  const { quick = false } = flags;
  const bar = progressBarOf("checking", flags, context);
  const result = await context.untilStopped((signal) =>
    checkBackups(names, repository, {
      quick,
      signal,
      onProgress: (doneBytes, totalBytes) => bar.update(doneBytes, totalBytes),
    }).finally(() => bar.end()),
  );
  const { backups, chunks, readBytes, problems } = result;
  const { output } = context;
  const what = quick ? "there" : `whole, ${output.size(readBytes)} read and hashed`;
  output.print({
    json: { target: target.place, quick, ...result },
    header: problems.map(({ backup, problem }) => `${backup}: ${problem}`),
    ...(problems.length === 0 ? { message: `${backups} backups with ${chunks} chunks are ${what}` } : {}),
  });
  if (problems.length === 0) return;
  const hurt = new Set(problems.map(({ backup }) => backup)).size;
  throw new TorusError(
    "corrupt",
    `${hurt} of ${backups} backups in ${target.place} cannot be restored as they were`,
  );
}

async function remove(
  place: string,
  texts: readonly string[],
  flags: TargetFlags,
  context: TorusctlContext,
): Promise<void> {
  const target = openTarget(place, flags, context.io);
  const names = [...new Set(texts)].map(requireBackupName);
  const repository = await Repository.open({ target });
  const { pid, host } = context.io;
  const options = {
    holder: `torusctl ${pid} on ${host}`,
    tell: (message: string) => context.tell(message),
  };
  const outside = { clock: systemClock, random: systemRandom };
  const { removedObjects, keptObjects } = await deleteBackups(names, options, { repository, ...outside });
  const deleted = names.map(({ volume, name }) => `${volume}@${name}`);
  const what = deleted.length === 0 ? "deleted no backup" : `deleted ${deleted.join(", ")}`;
  context.output.print({
    json: { target: target.place, deleted, removedObjects, keptObjects },
    message: `${what}: ${removedObjects} chunks and indexes removed, ${keptObjects} kept`,
  });
}

function requireBackupName(text: string): BackupName {
  const name = parseBackupName(text);
  if (name !== null) return name;
  throw new TorusError(
    "invalid-argument",
    `"${text}" names no backup: use VOLUME@BACKUP, as torusctl backup list shows it`,
  );
}
