// The command line of torusd: its options and help.

import { Command, Option } from "commander";
import { addMetadataOptions } from "../shared/metadata-options.ts";
import type { ProgramIo } from "../shared/program-io.ts";
import { prepareProgram } from "../shared/run-program.ts";
import { versionLine } from "../shared/version.ts";
import type { TorusdConfig, TorusdFlags } from "./config.ts";
import { flagDefaults, torusdConfig } from "./config.ts";

const examples = `
Examples:
  torusd -C sqlite:/var/lib/torus/metadata.db --peer-address 10.0.0.5:4321 --data-dir /srv/torus --auto-join
      one disk, up to 80% of it, and into the ring at once
  torusd -C sqlite:/var/lib/torus/metadata.db --peer-address 10.0.0.5:4321 --size 2TiB \\
         --data-dir /mnt/a --data-dir /mnt/b --label zone=a --label rack=r7
      two disks, two peers, at ports 4321 and 4322; add them with torusctl peer add

Make the cluster first, once, with torusctl init. A data directory belongs to one disk and one peer: give an empty one to
start a new peer.
`;

const collect = (value: string, before: readonly string[]): string[] => [...before, value];

export function buildProgram(run: (config: TorusdConfig) => Promise<void>, io: ProgramIo): Command {
  const program = prepareProgram(new Command("torusd"), io)
    .description("Keeps blocks of Torus volumes on the disks of this machine.")
    .version(versionLine("torusd"), "--version", "print the version");
  addMetadataOptions(program)
    .requiredOption(
      "--peer-address <host:port>",
      "where to listen, and what others connect to; a port for each data directory from this one on, 0 for free ones",
    )
    .addOption(
      new Option(
        "--data-dir <directory>",
        "where to keep blocks; repeat it for more disks, each is a peer of its own",
      )
        .argParser(collect)
        .default([], "none")
        .makeOptionMandatory(),
    )
    .option("--size <size>", "what each may take of its disk, such as 20GiB or 80%", flagDefaults.size)
    .option(
      "--memory <size>",
      "what the process takes of memory at most, all in all; clients wait rather than that it takes more (default: 512MiB for each disk)",
    )
    .option("--auto-join", "enter the ring, so that data is placed here", false)
    .addOption(
      new Option("--label <name=value>", "where this machine is, such as zone=a, rack=r7; repeat it for more")
        .argParser(collect)
        .default([], "host=NAME of this machine"),
    )
    .option("--http <host:port>", "serve metrics and health here");
  addUpkeepOptions(program)
    .option("--log-level <level>", "debug, info, warn, error or silent", flagDefaults.logLevel)
    .option(
      "--exit-with-parent",
      "stop when the process that started this one ends; leave Ctrl-C to it",
      false,
    )
    .addHelpText("after", examples)
    .allowExcessArguments(false)
    .action(async (flags: TorusdFlags) => {
      if (flags.dataDir.length === 0)
        program.error("error: required option '--data-dir <directory>' not specified");
      await run(torusdConfig(flags, io));
    });
  return program;
}

function addUpkeepOptions(program: Command): Command {
  return program
    .option(
      "--heartbeat <time>",
      "how often a peer says that it lives, and how far it is; it is DOWN when three in a row are missed",
      flagDefaults.heartbeat,
    )
    .option(
      "--repair-after <time>",
      "take a peer that is away for longer out of the ring and copy its data anew, such as 30s, 10min, 2h",
      flagDefaults.repairAfter,
    )
    .option(
      "--repair-budget <rate>",
      "what each disk sends to others, and takes from them, at most, to move and repair data; less while users would notice",
      flagDefaults.repairBudget,
    )
    .option(
      "--collect-grace <time>",
      "how long blocks that nothing needs any more are kept, for whoever still reads them",
      flagDefaults.collectGrace,
    )
    .option(
      "--scrub-period <time>",
      "look at every block on the disk within this time, and repair what is damaged",
      flagDefaults.scrubPeriod,
    );
}
