// torusctl wipe: removes a cluster's metadata.

import { type Command, Option } from "commander";
import type { ClusterMetadata } from "#metadata";
import { isAttached } from "#metadata";
import { isTorusError, TorusError } from "#model";
import type { TorusctlContext } from "./context.ts";

interface WipeFlags {
  readonly yesIAmSure?: boolean;
  readonly force?: boolean;
}

const examples = `
All volumes are lost: without the metadata nobody can tell what the blocks on the peers are. Stop every torusd and torusblk first, and empty
the peers' data directories afterwards.

Examples:
  torusctl wipe
  torusctl wipe --yes-i-am-sure       asks nothing, for scripts`;

export function addWipeCommand(program: Command, context: TorusctlContext): void {
  program
    .command("wipe")
    .summary("remove the cluster and all its volumes")
    .description("Removes all metadata of the cluster. There is no way back.")
    .addOption(new Option("--yes-i-am-sure", "do not ask"))
    .addOption(new Option("--force", "also while volumes are attached or peers are alive"))
    .addHelpText("after", examples)
    .action((flags: WipeFlags) => context.withCluster((cluster) => wipe(cluster, flags, context)));
}

async function wipe(cluster: ClusterMetadata, flags: WipeFlags, context: TorusctlContext): Promise<void> {
  const summary = await describeCluster(cluster, flags.force ?? false, context);
  if (!flags.yesIAmSure) {
    const answer = await context.io.ask(
      `This removes ${summary} in ${cluster.service.url}. Type YES to go on: `,
    );
    if (answer === null) {
      throw new TorusError("invalid-argument", "nobody is at the terminal to confirm: use --yes-i-am-sure");
    }
    if (answer.trim() !== "YES")
      throw new TorusError("invalid-argument", "not confirmed: nothing was changed");
  }
  const keys = await cluster.wipe();
  context.output.print({
    json: { wiped: cluster.service.url, keys },
    message: `wiped ${cluster.service.url}: ${summary}`,
  });
}

/** Refuses, unless `force`, what is in use; metadata too damaged to read is wiped only with `force`. */
async function describeCluster(
  cluster: ClusterMetadata,
  force: boolean,
  context: TorusctlContext,
): Promise<string> {
  try {
    const { volumes } = await cluster.volumes.list();
    const { peers } = await cluster.peers.list();
    const attached = volumes
      .filter(isAttached)
      .map(({ spec, lease }) => `volume ${spec.name} is attached by ${lease?.holder}`);
    const alive = peers
      .filter((status) => status.alive !== null)
      .map(({ record, peer }) => `peer ${record?.address ?? peer} is alive`);
    const used = [...attached, ...alive];
    if (used.length > 0 && !force) {
      const shown = `${used.slice(0, 5).join(", ")}${used.length > 5 ? `, and ${used.length - 5} more` : ""}`;
      throw new TorusError("busy", `the cluster is in use: ${shown}; stop them first, or use --force`);
    }
    return `a cluster of ${peers.length} peers and ${volumes.length} volumes`;
  } catch (error) {
    if (!isTorusError(error, "corrupt", "not-found", "unsupported") || !force) throw error;
    context.output.warn(error.message);
    return "what is left of a cluster";
  }
}
