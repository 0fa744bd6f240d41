// `torusblk nbd`: one volume as a block device of this machine's kernel. The volume is served on a private unix socket,
// nbd-client gives the kernel a connection to it, and this process stays: it is the volume's writer.

import { join } from "node:path";
import { DeviceExports, NbdServer } from "#gateway/nbd";
import { sleep } from "#host";
import { releaseHeap, rereading } from "#host/node";
import { formatBytes, messageOf, TorusError } from "#model";
import type { AttachedVolume } from "#volume";
import type { GlobalConfig } from "./config.ts";
import type { Surroundings } from "./surroundings.ts";
import { thenClose, withCatalog } from "./surroundings.ts";

export interface NbdConfig extends GlobalConfig {
  readonly volume: string;
  /** A device such as /dev/nbd3; null for the first that is free. */
  readonly device: string | null;
  readonly sectorBytes: number;
}

/** How often to look whether the kernel has let go of the device. */
const watchMs = 500;

export async function attachToKernel(config: NbdConfig, outside: Surroundings): Promise<void> {
  await outside.kernel.require();
  // The kernel's connection is to a socket that goes with this process, and its device was nobody's before: it never comes back.
  await withCatalog(config, "none", outside, async (catalog) => {
    const attaching = catalog.attach(config.volume, { force: config.force });
    const volume = await Promise.race([attaching, outside.stop]);
    if (typeof volume === "string") {
      attaching.catch(() => {});
      outside.log.info("Stopping before the volume was attached.", { reason: volume });
      return;
    }
    await thenClose(() => serveToKernel(config, outside, volume), volume, outside.log);
  });
}

/** Clients of an NBD server that are cut off do not concern the kernel, which starts afresh; whoever reads this may not know of them. */
async function tellCut(outside: Surroundings, volume: AttachedVolume): Promise<void> {
  const cut = await volume.cut();
  if (cut === null) return;
  const { name } = volume.info;
  outside.say(
    `volume ${name} was recovered at ${new Date(cut.atMs).toISOString()}, and what ${cut.previousHolder} answered before and did not ` +
      `flush may be lost: check the file system. NBD clients of then stay shut out until torusctl volume accept-loss ${name}`,
  );
}

/** `torusblk nbd --detach DEVICE`: the process that serves the device notices, flushes and ends. */
export async function detachFromKernel(device: string, outside: Surroundings): Promise<void> {
  if (!outside.kernel.isConnected(device))
    throw new TorusError("not-found", `nothing is attached to ${device}`);
  await outside.syncDevice(device).catch((error) => {
    outside.log.warn("The device could not be flushed before it is detached.", {
      device,
      error: messageOf(error),
    });
  });
  await outside.kernel.disconnect(device);
  outside.say(`detached ${device}`);
}

async function serveToKernel(
  config: NbdConfig,
  outside: Surroundings,
  volume: AttachedVolume,
): Promise<void> {
  const { clock, log, metrics } = outside;
  const directory = await outside.privateDirectory();
  const socketPath = join(directory.path, "nbd.sock");
  const server = new NbdServer(
    { listen: [{ kind: "unix", path: socketPath }] },
    { exports: new DeviceExports([volume]), clock, log, metrics, reread: rereading },
  );
  const run = async () => {
    await tellCut(outside, volume);
    await server.open();
    const request = {
      socketPath,
      exportName: config.volume,
      device: config.device,
      sectorBytes: config.sectorBytes,
    };
    const device = await outside.kernel.connect(request);
    releaseHeap();
    outside.say(`volume ${config.volume} is ${device}; it stays until this process is stopped`);
    await untilOver(device, outside, volume);
  };
  await thenClose(() => thenClose(run, server, log), directory, log);
}

/** Returns when the device has been let go; rejects when the volume was lost. */
async function untilOver(device: string, outside: Surroundings, volume: AttachedVolume): Promise<void> {
  const { kernel, log } = outside;
  const watch = { over: false };
  const end = await Promise.race([
    outside.stop,
    volume.lost,
    untilDisconnected(device, outside, volume, watch),
  ]).finally(() => {
    watch.over = true;
  });
  if (end === null) {
    log.info("The device was detached by somebody else.", { device });
    return;
  }
  if (end instanceof TorusError) {
    log.error("Lost the volume: the device gives errors from now on.", { device, error: end });
    await kernel
      .disconnect(device)
      .catch((error) => log.warn("The device is still there.", { device, error }));
    throw new TorusError(end.code, `${device} was detached because its volume was lost: ${end.message}`);
  }
  log.info("Stopping: detaching the device.", { device, reason: end });
  // What programs wrote to the device may still be in the system's memory; detaching would drop it.
  try {
    await outside.syncDevice(device);
  } catch (error) {
    await kernel
      .disconnect(device)
      .catch((second) => log.warn("The device is still there.", { device, error: second }));
    throw new TorusError(
      "io",
      `${device} was detached, but not all that was written to it could be kept: ${messageOf(error)}`,
    );
  }
  await kernel.disconnect(device);
}

/** Null once the kernel has no connection any more. Tells meanwhile of another size, which the kernel does not ask for. */
async function untilDisconnected(
  device: string,
  { kernel, clock, say }: Surroundings,
  volume: AttachedVolume,
  watch: { readonly over: boolean },
): Promise<null> {
  let { sizeBytes } = volume.info;
  while (!watch.over && kernel.isConnected(device)) {
    await sleep(clock, watchMs);
    if (volume.info.sizeBytes === sizeBytes) continue;
    ({ sizeBytes } = volume.info);
    say(
      `volume ${volume.info.name} has ${formatBytes(sizeBytes)} now; ${device} has once it is attached anew`,
    );
  }
  return null;
}
