// torusctl volume set: what a volume keeps and is limited to, attached or not.

import type { Command } from "commander";
import { TorusError } from "#model";
import type { TorusctlContext } from "./context.ts";
import type { KeepHistory } from "./history-commands.ts";
import { describeKeeping, keepHistoryOption, keepMsOf } from "./history-commands.ts";
import type { LimitFlags } from "./limit-options.ts";
import { addLimitOptions, describeLimits, limitsOf } from "./limit-options.ts";

interface SetFlags extends LimitFlags {
  readonly keepHistory?: KeepHistory;
}

const examples = `
--keep-history says how far back the volume can be restored (torusctl volume restore --at). It begins with the next checkpoint of the volume's writer, within half a
minute of the next write; a shorter time, or none, gives space back, and what was longer ago cannot be had any more. Until then all that was ever
written in that time takes space.

Limits hold for all clients of the volume together, for reads and writes alike, and change while they work. Requests wait for their turn, they do not fail; a
flush waits for nothing. A trim counts as a request without bytes. 0 and none take a limit off.

Examples:
  torusctl volume set db --keep-history 24h
  torusctl volume set db --keep-history none
  torusctl volume set db --iops 2000 --bandwidth 50MiB/s
  torusctl volume set db --burst 5s
  torusctl volume set db --iops none`;

export function addSetCommand(command: Command, context: TorusctlContext): void {
  command
    .summary("change what a volume keeps and is limited to")
    .description("Changes the settings of a volume, attached or not.")
    .argument("<name>", "the volume")
    .addOption(keepHistoryOption());
  addLimitOptions(command)
    .addHelpText("after", examples)
    .action((name: string, flags: SetFlags) => setVolume(name, flags, context));
}

async function setVolume(
  name: string,
  { keepHistory, ...limits }: SetFlags,
  context: TorusctlContext,
): Promise<void> {
  const isLimited = Object.keys(limits).length > 0;
  if (keepHistory === undefined && !isLimited)
    throw new TorusError("invalid-argument", "nothing to set: see torusctl volume set --help");
  const lines: string[] = [];
  const json: Record<string, unknown> = { name };
  await context.withCluster(async (cluster) => {
    if (keepHistory !== undefined) {
      const keepHistoryMs = keepMsOf(keepHistory);
      await cluster.history.keep(name, keepHistoryMs);
      json["keepHistoryMs"] = keepHistoryMs;
      lines.push(`volume ${name} ${describeKeeping(keepHistoryMs)}`);
    }
    if (isLimited) {
      const { qos } = await cluster.volumes.limit(name, (before) => limitsOf(limits, before));
      json["qos"] = qos;
      lines.push(`volume ${name}: ${describeLimits(qos)}`);
    }
  });
  context.output.print({ json, message: lines.join("\n") });
}
