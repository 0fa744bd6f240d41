// The tree of torusctl's commands. One file per group; this one puts them together.

import { Command, Option } from "commander";
import { addMetadataOptions } from "../shared/metadata-options.ts";
import type { ProgramIo } from "../shared/program-io.ts";
import { prepareProgram, runProgram } from "../shared/run-program.ts";
import { addBackupCommands } from "./backup-commands.ts";
import { addConfigCommand } from "./config-command.ts";
import { TorusctlContext } from "./context.ts";
import { addFileCommands } from "./file-commands.ts";
import { addInitCommand } from "./init-command.ts";
import { addMetadataCommands } from "./metadata-command.ts";
import { addPeerCommands } from "./peer-commands.ts";
import { addProgramCommands } from "./program-commands.ts";
import { addRingCommands } from "./ring-commands.ts";
import { addVolumeCommands } from "./volume-commands.ts";
import { addWipeCommand } from "./wipe-command.ts";

const examples = `
Examples:
  torusctl init                                 make a cluster
  torusctl peer list                            the storage daemons, and which hold data
  torusctl peer add --all-peers                 let every daemon that runs hold data
  torusctl volume create-block db 20GiB         a volume of 20 GiB
  torusctl volume list -o json                  for programs
  torusctl volume snapshot create db@monday     keep it as it is now
  torusctl file put report.pdf archive/report   keep a file in the cluster
  torusctl backup create db /mnt/backups        what changed since the last backup

Exit codes: 0 done, 1 it could not be done, 2 it was asked for wrongly.
Every command takes --help.`;

export function buildTorusctl(io: ProgramIo): Command {
  const program = prepareProgram(new Command("torusctl"), io).description(
    "Manages a Torus cluster: its peers, its ring and its volumes.",
  );
  addMetadataOptions(program)
    .addOption(
      new Option("-o, --output <format>", "table for people, json for programs")
        .choices(["table", "json"])
        .default("table"),
    )
    .addOption(new Option("--csv", "lists as comma-separated values; sizes in bytes"))
    .addOption(new Option("--si", "sizes in powers of 1000"))
    .addHelpText("after", examples);
  const context = new TorusctlContext(program, io);
  addInitCommand(program, context);
  addPeerCommands(program, context);
  addRingCommands(program, context);
  addVolumeCommands(program, context);
  addFileCommands(program, context);
  addBackupCommands(program, context);
  addMetadataCommands(program, context);
  addWipeCommand(program, context);
  addConfigCommand(program, context);
  addProgramCommands(program, context);
  return program;
}

/** Resolves with the exit code. */
export function runTorusctl(args: readonly string[], io: ProgramIo): Promise<number> {
  return runProgram(buildTorusctl(io), args, io);
}
