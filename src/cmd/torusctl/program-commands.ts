// torusctl version and completion: about the program, not the cluster.

import { Argument, type Command } from "commander";
import { completionScript, shells } from "../shared/completion.ts";
import { torusVersion, versionLine } from "../shared/version.ts";
import type { TorusctlContext } from "./context.ts";

const completionExamples = `
Examples:
  source <(torusctl completion bash)                                    in ~/.bashrc
  source <(torusctl completion zsh)                                     in ~/.zshrc, after compinit
  torusctl completion fish > ~/.config/fish/completions/torusctl.fish`;

export function addProgramCommands(program: Command, context: TorusctlContext): void {
  program
    .command("version")
    .summary("the version of this program")
    .description("Shows the version of this program.")
    .action(() => {
      context.output.print({ json: { version: torusVersion }, message: versionLine("torusctl") });
    });
  program
    .command("completion")
    .summary("completion for your shell")
    .description("Writes a completion script for a shell.")
    .addArgument(new Argument("<shell>", "bash, zsh or fish").choices(shells))
    .addHelpText("after", completionExamples)
    .action((shell: string) => context.io.out(completionScript(program, shell)));
}
