// torusctl peer rebalance: how far the moving of blocks is, and holding it up.

import { Argument, type Command, Option } from "commander";
import { sleep } from "#host";
import { systemClock } from "#host/node";
import type { ClusterMetadata } from "#metadata";
import { TorusError } from "#model";
import { ProgressLine } from "../shared/progress-line.ts";
import type { TorusctlContext } from "./context.ts";
import { type MovingTotals, movingText, movingTotals } from "./upkeep-status.ts";

const rebalanceExamples = `
Without a word it tells how far all peers together are; peer list tells it of each. Pausing holds up all moving and repairing of blocks, of every peer,
also the copies that replace lost ones.

Examples:
  torusctl peer rebalance --wait      until every block is where the ring wants it
  torusctl peer rebalance pause
  torusctl peer rebalance resume`;

const pollMs = 1000;

interface RebalanceFlags {
  readonly wait?: boolean;
}

export function addRebalanceCommand(peer: Command, context: TorusctlContext): void {
  peer
    .command("rebalance")
    .summary("how far the moving of blocks is; hold it up, or let it go on")
    .description("Tells how far the moving and repairing of blocks by all peers is; pauses or resumes it.")
    .addArgument(new Argument("[what]", "pause or resume").choices(["pause", "resume"]))
    .addOption(new Option("--wait", "until all is in place, telling how far it is"))
    .addHelpText("after", rebalanceExamples)
    .action((what: "pause" | "resume" | undefined, flags: RebalanceFlags) =>
      context.withCluster((cluster) => {
        if (what === undefined) return tellMoving(cluster, flags.wait ?? false, context);
        if (flags.wait !== true) return pause(cluster, what === "pause", context);
        throw new TorusError("invalid-argument", `--wait does not go with ${what}`);
      }),
    );
}

async function pause(cluster: ClusterMetadata, paused: boolean, { output }: TorusctlContext): Promise<void> {
  await cluster.pauseUpkeep(paused);
  output.print({
    json: { paused },
    message: paused
      ? "paused: no peer moves or repairs blocks until torusctl peer rebalance resume"
      : "resumed: peers move blocks to where the ring wants them",
  });
}

async function tellMoving(
  cluster: ClusterMetadata,
  isWaiting: boolean,
  { output, io }: TorusctlContext,
): Promise<void> {
  const progress = new ProgressLine({ isTerminal: io.errIsTerminal }, { clock: systemClock, write: io.err });
  const look = async (): Promise<MovingTotals> => {
    const { paused } = await cluster.upkeep();
    return movingTotals(await cluster.peers.list(), paused);
  };
  const first = await look();
  let totals = first;
  while (isWaiting && !totals.balanced) {
    progress.say(movingText(totals, totals.movedBytes - first.movedBytes));
    await sleep(systemClock, pollMs);
    totals = await look();
  }
  progress.end();
  output.print({
    json: totals,
    message: movingText(totals, isWaiting ? totals.movedBytes - first.movedBytes : null),
  });
}
