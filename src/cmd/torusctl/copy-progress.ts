// The progress of long copies, as commands have it: -p, or by itself on a terminal.

import { type Command, Option } from "commander";
import { systemClock } from "#host/node";
import { ProgressBar } from "../shared/progress-bar.ts";
import type { TorusctlContext } from "./context.ts";

export interface ProgressFlags {
  readonly progress?: boolean;
}

export function addProgressOption(command: Command): Command {
  return command.addOption(new Option("-p, --progress", "show how far it is on standard error"));
}

export function progressBarOf(
  title: string,
  { progress = false }: ProgressFlags,
  { io }: TorusctlContext,
): ProgressBar {
  const options = { title, forced: progress, isTerminal: io.errIsTerminal };
  return new ProgressBar(options, { clock: systemClock, write: io.err });
}
