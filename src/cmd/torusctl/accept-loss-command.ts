// torusctl volume accept-loss: a person says that the clients which were cut off from a volume have ended [C2].

import type { Command } from "commander";
import type { ClusterMetadata, CutRecord } from "#metadata";
import type { TorusctlContext } from "./context.ts";

const examples = `
When a volume is attached after its writer died, and every copy of some write that was answered and not flushed may be gone, the
clients that were connected to that writer are cut off: they believe that those writes are kept, and their next flush would confirm it.
NBD cannot tell them from new clients, so torusblk nbdserve serves the volume to nobody. What was flushed is there.

Before you accept the loss, end those clients: programs, virtual machines, mounts. File systems on the volume then recover as after a
power failure, when they are mounted or checked anew.

Examples:
  torusctl volume accept-loss db
  torusctl volume accept-loss db scratch`;

export function addAcceptLossCommand(volume: Command, context: TorusctlContext): void {
  volume
    .command("accept-loss")
    .summary("serve a volume again whose clients were cut off")
    .description(
      "Serves volumes again whose clients were cut off, because writes that were not flushed may be lost.",
    )
    .argument("<names...>", "volumes whose clients of before have ended")
    .addHelpText("after", examples)
    .action((names: string[]) => context.withCluster((cluster) => acceptLosses(cluster, names, context)));
}

async function acceptLosses(
  cluster: ClusterMetadata,
  names: readonly string[],
  { output }: TorusctlContext,
): Promise<void> {
  const accepted: ({ readonly name: string } & CutRecord)[] = [];
  const lines: string[] = [];
  // All are looked at before anything is accepted: a name that is wrong costs nothing.
  const states = await Promise.all([...new Set(names)].map((name) => cluster.volumes.find(name)));
  for (const state of states) {
    const { cut, spec } = state;
    if (cut === null) {
      lines.push(`${spec.name}: there is no loss to accept`);
      continue;
    }
    await cluster.volumes.acceptLoss(state, cut);
    accepted.push({ name: spec.name, ...cut });
    const until = new Date(cut.atMs).toISOString();
    lines.push(
      `${spec.name}: served again; what ${cut.previousHolder} answered before ${until} and did not flush may be lost`,
    );
  }
  output.print({ json: { accepted }, header: lines });
}
