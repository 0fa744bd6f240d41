// Runs a command-line program built with commander: every way it can end becomes an exit code, every error one line on
// standard error that says what is wrong and what to do.

import { type Command, CommanderError } from "commander";
import { isTorusError, messageOf } from "#model";
import type { ProgramIo } from "./program-io.ts";

/** 0: done. 1: it could not be done. 2: it was asked for wrongly. */
export const exitCodes = { done: 0, failed: 1, usage: 2 } as const;

/** Settings every program of the project shares; call before subcommands are added, which inherit them. */
export function prepareProgram(program: Command, io: ProgramIo): Command {
  return program
    .exitOverride()
    .configureOutput({
      writeOut: io.out,
      writeErr: io.err,
      // Said by `runProgram`, in one line.
      outputError: () => {},
      getOutHasColors: () => hasColour(io),
    })
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true })
    .helpCommand(false);
}

/** Colour is for people at a terminal who did not turn it off (https://no-color.org). */
export function hasColour(io: ProgramIo): boolean {
  return io.outIsTerminal && !io.env["NO_COLOR"] && io.env["TERM"] !== "dumb";
}

/** Resolves with the exit code. `args` without the program's own name. */
export async function runProgram(program: Command, args: readonly string[], io: ProgramIo): Promise<number> {
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCodes.done;
  } catch (error) {
    if (error instanceof CommanderError) return explainUsage(program.name(), error, io);
    io.err(`${program.name()}: ${oneLine(messageOf(error))}\n`);
    if (!isTorusError(error)) io.err(`${error instanceof Error ? error.stack : ""}\n`);
    return isTorusError(error, "invalid-argument") ? exitCodes.usage : exitCodes.failed;
  }
}

function explainUsage(name: string, error: CommanderError, io: ProgramIo): number {
  if (error.code === "commander.helpDisplayed" || error.code === "commander.version") return exitCodes.done;
  // A group without a command: its help was shown on standard error.
  if (error.code === "commander.help") return exitCodes.usage;
  const message = oneLine(error.message.replace(/^error: /, ""));
  io.err(`${name}: ${message}; see ${name} --help\n`);
  return exitCodes.usage;
}

function oneLine(message: string): string {
  return message.trim().replace(/\s*[\r\n]+\s*/g, " ");
}
