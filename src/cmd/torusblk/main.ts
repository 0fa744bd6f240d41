// torusblk: composes the real outside (clocks, log, volumes of the cluster, kernel) and runs the command line.

import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveHttp } from "#gateway/http";
import { genericNetlink, KernelNbd } from "#gateway/kernel";
import { enterExport } from "#gateway/nbd";
import { Metrics } from "#host";
import { collectGarbage, createLog, descriptorOf, openNetlink, systemClock, systemRandom } from "#host/node";
import { MemoryGuard } from "../shared/memory-guard.ts";
import { publishUsage, residentBytes } from "../shared/process-usage.ts";
import { processIo } from "../shared/program-io.ts";
import { exitCodes, runProgram } from "../shared/run-program.ts";
import { stopSignal } from "../shared/stop-signal.ts";
import { thisBoot } from "../shared/this-boot.ts";
import { startMsMax, ThreadPauses } from "../shared/thread-pauses.ts";
import { runChildProgram } from "./child-program.ts";
import { openVolumeCatalog } from "./compose.ts";
import type { GlobalConfig } from "./config.ts";
import { isDeviceOpen } from "./device-users.ts";
import { attachToKernel, detachFromKernel } from "./nbd.ts";
import { nbdserve } from "./nbdserve.ts";
import type { Actions } from "./program.ts";
import { buildProgram } from "./program.ts";
import type { Surroundings } from "./surroundings.ts";

const io = processIo();
const signal = stopSignal(() => {
  io.err("torusblk: stopped at once; what was not flushed is recovered by the next attachment\n");
  process.exit(exitCodes.failed);
});

function surroundings(config: GlobalConfig): Surroundings {
  if (config.exitWithParent) signal.followParent();
  const clock = systemClock;
  const metrics = new Metrics();
  if (config.http !== null) new ThreadPauses({ afterMs: startMsMax }, { clock, metrics }).start();
  publishUsage(metrics);
  const log = createLog({ level: config.logLevel, name: "torusblk" });
  return {
    clock,
    log,
    metrics,
    random: systemRandom,
    kernel: new KernelNbd(
      { sysRoot: "/sys", devRoot: "/dev" },
      {
        clock,
        run: runChildProgram,
        isOpen: (device) => isDeviceOpen(device, "/proc"),
        openNetlink: () => openNetlink(genericNetlink),
      },
    ),
    bootOf: (metadataUrl) => thisBoot({ root: "/", metadataUrl, hostName: io.host }),
    holder: `torusblk ${io.pid} on ${io.host}`,
    stop: signal.stop,
    say: (line) => io.out(`torusblk: ${line}\n`),
    openCatalog: openVolumeCatalog,
    guardMemory: (memoryBytesMax, squeeze) => {
      const deps = { clock, metrics, residentBytes, collectGarbage, squeeze };
      new MemoryGuard({ memoryBytesMax }, deps).start();
    },
    serveHttp: async (address) => {
      const serving = await serveHttp(address, { metrics, log });
      log.info("Serving metrics.", { ...serving.address });
      return serving;
    },
    privateDirectory,
    enterExport: async (path, name) => {
      const { socket, sizeBytes, flags } = await enterExport(path, name);
      return {
        served: { descriptor: descriptorOf(socket), sizeBytes, flags },
        close: () => void socket.destroy(),
      };
    },
    syncDevice,
  };
}

async function privateDirectory() {
  const path = await mkdtemp(join(tmpdir(), "torusblk-"));
  return { path, close: () => rm(path, { recursive: true, force: true }) };
}

async function syncDevice(device: string): Promise<void> {
  const file = await open(device, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

const actions: Actions = {
  nbdserve: (config) => nbdserve(config, surroundings(config)),
  nbd: (config) => attachToKernel(config, surroundings(config)),
  detach: (device, config) => detachFromKernel(device, config, surroundings(config)),
};

process.exit(await runProgram(buildProgram(actions, io), process.argv.slice(2), io));
