// torusd: composes the real outside (clocks, log, metadata, signals) and runs the daemon.

import { createLog, systemClock, systemRandom } from "#host/node";
import { processIo } from "../shared/program-io.ts";
import { exitCodes, runProgram } from "../shared/run-program.ts";
import { stopSignal } from "../shared/stop-signal.ts";
import type { TorusdConfig } from "./config.ts";
import { runDaemon } from "./daemon.ts";
import { openLastingCluster } from "./lasting-cluster.ts";
import { buildProgram } from "./program.ts";

const io = processIo();
/** A torusblk that loses the same parent has this long to detach. */
const parentGraceMs = 3000;
const signal = stopSignal(() => {
  io.err("torusd: stopped at once; what was reported as durable is\n");
  process.exit(exitCodes.failed);
});

async function run(config: TorusdConfig): Promise<void> {
  if (config.exitWithParent) signal.followParent(parentGraceMs);
  const log = createLog({ level: config.logLevel, name: "torusd" });
  const deps = { clock: systemClock, random: systemRandom, log };
  const cluster = await openLastingCluster(config.metadataUrl, deps);
  try {
    const say = (line: string): void => io.out(`torusd: ${line}\n`);
    await runDaemon(config, { ...deps, cluster, stop: signal.stop, say });
  } finally {
    await cluster.close();
  }
}

process.exit(await runProgram(buildProgram(run, io), process.argv.slice(2), io));
