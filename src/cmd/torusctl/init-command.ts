// torusctl init: makes a cluster in a metadata service.

import { type Command, Option } from "commander";
import type { ClusterMetadata } from "#metadata";
import { blockBytesDefault, formatBytes, parseBytes, replicasDefault, replicasMax } from "#model";
import type { RingType } from "#ring";
import { parseCount } from "./arguments.ts";
import type { TorusctlContext } from "./context.ts";

interface InitFlags {
  readonly blockSize: number;
  readonly replication: number;
  readonly ringType: Exclude<RingType, "union" | "single">;
  readonly ring: boolean;
  readonly view?: boolean;
}

const examples = `
Examples:
  torusctl init                                      blocks of 4 MiB, three copies of each
  torusctl init --block-size 1MiB --replication 2
  torusctl -C sqlite:/var/lib/torus/metadata.db init
  torusctl init --view                               what the cluster was made with

The block size and the cluster's identity cannot be changed later; replication and ring can.`;

export function addInitCommand(program: Command, context: TorusctlContext): void {
  program
    .command("init")
    .summary("make a cluster")
    .description(
      "Makes a cluster in the metadata service. It has no peers yet: start torusd, then torusctl peer add.",
    )
    .addOption(
      new Option("--block-size <size>", "size of the blocks volumes are made of, a power of two")
        .argParser((text: string) => parseBytes(text, "--block-size"))
        .default(blockBytesDefault, formatBytes(blockBytesDefault)),
    )
    .addOption(
      new Option("--replication <n>", "copies of each block")
        .argParser(parseCount("--replication", 1, replicasMax))
        .default(replicasDefault),
    )
    .addOption(
      new Option("--ring-type <type>", "how blocks find their peers")
        .choices(["rendezvous", "ketama", "mod", "empty"])
        .default("rendezvous"),
    )
    .addOption(
      new Option("--no-ring", "start with an empty ring: nothing can be written until ring manual-change"),
    )
    .addOption(new Option("--view", "only show the cluster there is"))
    .addHelpText("after", examples)
    .action((flags: InitFlags) =>
      context.withCluster((cluster) => init(cluster, flags, context), { create: !flags.view }),
    );
}

async function init(cluster: ClusterMetadata, flags: InitFlags, context: TorusctlContext): Promise<void> {
  const { blockSize: blockBytes, replication: replicas, ringType } = flags;
  if (!flags.view) {
    const type = flags.ring ? ringType : "empty";
    await cluster.init({ blockBytes, ring: { version: 1, type, replicas, members: [] } });
  }
  const record = await cluster.load();
  const { version, type, replicas: copies } = await cluster.rings.current();
  const { output } = context;
  const { url } = cluster.service;
  output.print({
    json: { ...record, metadata: url, ring: { version, type, replicas: copies } },
    columns: [
      { title: "CLUSTER" },
      { title: "BLOCK SIZE", align: "right" },
      { title: "RING" },
      { title: "REPLICATION", align: "right" },
      { title: "METADATA" },
    ],
    rows: [[record.clusterId, output.size(record.blockBytes), type, `${copies}`, url]],
  });
}
