// `torusblk nbd`: one volume as a block device of this machine's kernel. The volume is served on a private unix socket, the kernel
// is given a connection to it, and this process stays: it is the volume's writer. The device outlives it: what is asked of it then waits for
// the next `torusblk nbd` of the volume.

import { join } from "node:path";
import type { WaitingDevice } from "#gateway/kernel";
import { DeviceExports } from "#gateway/nbd";
import { sleep } from "#host";
import { releaseHeap } from "#host/node";
import { messageOf, TorusError } from "#model";
import type { AttachedVolume } from "#volume";
import { parseSnapshotName } from "#volume";
import { boundedServer } from "./bounded-server.ts";
import type { GlobalConfig } from "./config.ts";
import { KernelDevice } from "./kernel-device.ts";
import type { ServedCatalog, Surroundings } from "./surroundings.ts";
import { thenClose, withCatalog } from "./surroundings.ts";

export interface NbdConfig extends GlobalConfig {
  readonly volume: string;
  /** A device such as /dev/nbd3; null for the first that is free. */
  readonly device: string | null;
  readonly sectorBytes: number;
  /** How long the device waits for the next process when this one has ended. */
  readonly reconnectSeconds: number;
}

/** How long what programs wrote to a device may take to be flushed before it is detached. */
const syncMsMax = 30_000;

export async function attachToKernel(config: NbdConfig, outside: Surroundings): Promise<void> {
  await outside.kernel.require();
  const waiting = outside.kernel.waiting(config.volume);
  requireSame(config, waiting);
  // A device goes on with the next attachment, on this machine, by its name alone.
  await withCatalog(config, "here", outside, async (catalog) => {
    const device = { resume: waiting.map(({ token }) => token), fresh: outside.random.uuid() };
    const attaching = catalog.attach(config.volume, { force: config.force, device });
    const volume = await Promise.race([attaching, outside.stop]);
    if (typeof volume === "string") {
      attaching.catch(() => {});
      outside.log.info("Stopping before the volume was attached.", { reason: volume });
      return;
    }
    await thenClose(() => serveToKernel(config, outside, catalog, volume, waiting), volume, outside.log);
  });
}

/** One device a volume: two would have different things of it in memory. */
function requireSame({ volume, device }: NbdConfig, waiting: readonly WaitingDevice[]): void {
  if (device === null || waiting.length === 0 || parseSnapshotName(volume) !== null) return;
  if (waiting.some((found) => found.device.split("/").at(-1) === device.split("/").at(-1))) return;
  const has = waiting[0].device;
  throw new TorusError(
    "busy",
    `volume "${volume}" is ${has} on this machine: name that, or no device, to go on with it, or end it with \`torusblk nbd --detach ${has}\``,
  );
}

/** Clients of an NBD server that are cut off do not concern the kernel; whoever reads this may not know of them. */
async function tellCut(outside: Surroundings, volume: AttachedVolume): Promise<void> {
  const cut = await volume.cut();
  if (cut === null) return;
  const { name } = volume.info;
  outside.say(
    `volume ${name} was recovered at ${new Date(cut.atMs).toISOString()}, and what ${cut.previousHolder} answered before and did not ` +
      `flush may be lost: check the file system. NBD clients of then stay shut out until torusctl volume accept-loss ${name}`,
  );
}

/**
 * `torusblk nbd --detach DEVICE`: the process that serves the device, if there is one, notices, flushes and ends. `force`: also while it is used, and
 * without what programs wrote to it and did not flush.
 */
export async function detachFromKernel(
  device: string,
  { force }: { readonly force: boolean },
  outside: Surroundings,
): Promise<void> {
  const { kernel, say, log } = outside;
  if (!kernel.isConnected(device)) throw new TorusError("not-found", `nothing is attached to ${device}`);
  if (!force) {
    await syncInTime(device, outside).catch((error) => {
      if (error instanceof TorusError) throw error;
      log.warn("The device could not be flushed before it is detached.", { device, error: messageOf(error) });
    });
    if (await kernel.isInUse(device))
      throw new TorusError(
        "busy",
        `${device} is mounted, or open in a program: end that first. With --force its next request fails`,
      );
  }
  await kernel.disconnect(device);
  say(`detached ${device}`);
}

/** Where nothing serves a device, flushing it waits for the next to come. */
async function syncInTime(device: string, { clock, syncDevice }: Surroundings): Promise<void> {
  const late = sleep(clock, syncMsMax).then(() => "late" as const);
  const syncing = syncDevice(device);
  if ((await Promise.race([syncing, late])) !== "late") return;
  syncing.catch(() => {});
  throw new TorusError(
    "timeout",
    `what was written to ${device} could not be flushed within ${syncMsMax / 1000} s. If nothing serves it, start \`torusblk nbd\` of its ` +
      `volume again; or give up what was not flushed, with --force`,
  );
}

async function serveToKernel(
  config: NbdConfig,
  outside: Surroundings,
  catalog: ServedCatalog,
  volume: AttachedVolume,
  waiting: readonly WaitingDevice[],
): Promise<void> {
  const { log } = outside;
  const directory = await outside.privateDirectory();
  const socketPath = join(directory.path, "nbd.sock");
  const listen = [{ kind: "unix", path: socketPath }] as const;
  const server = boundedServer({ listen }, new DeviceExports([volume]), config, outside, catalog);
  const run = async () => {
    await tellCut(outside, volume);
    await server.open();
    const kernelDevice = new KernelDevice(config, { ...outside, socketPath, server, volume });
    await kernelDevice.open(waiting);
    releaseHeap();
    await untilOver(kernelDevice, outside, volume);
  };
  await thenClose(() => thenClose(run, server, log), directory, log);
}

/** Returns when the device has been let go, or left to the next process; rejects when the volume was lost. */
async function untilOver(
  kernelDevice: KernelDevice,
  outside: Surroundings,
  volume: AttachedVolume,
): Promise<void> {
  const { kernel, log, say } = outside;
  const { device } = kernelDevice;
  const disconnect = () =>
    kernel.disconnect(device).catch((error) => log.warn("The device is still there.", { device, error }));
  const end = await Promise.race([outside.stop, volume.lost, kernelDevice.watch()]).finally(() =>
    kernelDevice.endWatch(),
  );
  if (end === null) {
    log.info("The device was detached by somebody else.", { device });
    return;
  }
  if (end instanceof TorusError) {
    log.error("Lost the volume: the device gives errors from now on.", { device, error: end });
    await disconnect();
    throw new TorusError(end.code, `${device} was detached because its volume was lost: ${end.message}`);
  }
  log.info("Stopping.", { device, reason: end });
  // What programs wrote to the device may still be in the system's memory; detaching would drop it.
  try {
    await outside.syncDevice(device);
  } catch (error) {
    await disconnect();
    throw new TorusError(
      "io",
      `${device} was detached, but not all that was written to it could be kept: ${messageOf(error)}`,
    );
  }
  if (await kernel.isInUse(device)) say(kernelDevice.farewell);
  else await kernel.disconnect(device);
}
