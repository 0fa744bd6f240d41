// KernelDevice: the device of one volume, for as long as this process serves it: takes over the one that waits for it or connects a new one,
// gives the kernel another connection when it has given up the last, and tells it of another size.
//
// Ordering [C2]: the kernel sends again what was not answered on a connection it gave up. It gets the next one only when nothing of the last
// is left here, neither unread nor in flight: what was written later must not be overtaken by what was sent twice.

import type { DeviceName, ServedSocket, WaitingDevice } from "#gateway/kernel";
import type { NbdServer } from "#gateway/nbd";
import { sleep } from "#host";
import { assert, formatBytes, messageOf, TorusError } from "#model";
import type { AttachedVolume } from "#volume";
import { parseSnapshotName } from "#volume";
import type { Surroundings } from "./surroundings.ts";

export interface KernelDeviceOptions {
  readonly volume: string;
  /** Null for the first that is free. */
  readonly device: string | null;
  readonly sectorBytes: number;
  readonly reconnectSeconds: number;
}

export interface KernelDeviceDeps
  extends Pick<Surroundings, "kernel" | "clock" | "log" | "say" | "enterExport"> {
  readonly socketPath: string;
  readonly server: Pick<NbdServer, "connectionCount">;
  readonly volume: AttachedVolume;
}

/** How often to look at the device. */
const watchMs = 500;
/** A process that was killed lets go of its connection within moments. */
const settleMsMax = 10_000;

export class KernelDevice {
  readonly #options: KernelDeviceOptions;
  readonly #deps: KernelDeviceDeps;
  readonly #name: DeviceName;
  #device = "";
  #sizeBytes: number;
  #over = false;

  constructor(options: KernelDeviceOptions, deps: KernelDeviceDeps) {
    const { device } = deps.volume;
    assert(device !== undefined && device !== null, "the volume was attached for a device");
    this.#options = options;
    this.#deps = deps;
    this.#name = { volume: options.volume, token: device };
    this.#sizeBytes = deps.volume.info.sizeBytes;
  }

  get device(): string {
    return this.#device;
  }

  /** What to tell people when the process ends and the device is used. */
  get farewell(): string {
    const { volume, reconnectSeconds } = this.#options;
    return (
      `${this.#device} is in use and stays: what is asked of it waits ${reconnectSeconds} s for the next torusblk nbd ${volume}, and then ` +
      `fails; torusblk nbd --detach ${this.#device} --force ends it`
    );
  }

  /** `waiting`: the devices of this volume that were there before it was attached. */
  async open(waiting: readonly WaitingDevice[]): Promise<void> {
    const { kernel, say } = this.#deps;
    const { volume, device, sectorBytes, reconnectSeconds: deadSeconds } = this.#options;
    if (await this.#resume(waiting)) {
      say(`volume ${volume} is ${this.#device} again: what was asked of it meanwhile goes on`);
      return;
    }
    await this.#giveUp(waiting);
    this.#device = await this.#entered((served) =>
      kernel.connect({ served, name: this.#name, device, sectorBytes, deadSeconds }),
    );
    say(`volume ${volume} is ${this.#device}; it stays until this process is stopped`);
  }

  /** Null once the kernel has let go of the device. */
  async watch(): Promise<null> {
    const { clock, kernel, server, log } = this.#deps;
    while (!this.#over && kernel.isConnected(this.#device)) {
      await sleep(clock, watchMs);
      if (this.#over) break;
      try {
        if (server.connectionCount === 0 && (await this.#reconnect(this.#device)) === "gone") break;
        await this.#tellSize();
      } catch (error) {
        log.warn("The kernel does not take what it is told; trying again.", { error: messageOf(error) });
      }
    }
    return null;
  }

  endWatch(): void {
    this.#over = true;
  }

  async #resume(waiting: readonly WaitingDevice[]): Promise<boolean> {
    const { clock } = this.#deps;
    const own = waiting.filter(({ token }) => token === this.#name.token);
    const deadline = clock.monotonicMs() + settleMsMax;
    for (const { device } of own) {
      let outcome = await this.#reconnect(device);
      while (outcome === "served" && !this.#isSnapshot && clock.monotonicMs() < deadline) {
        await sleep(clock, watchMs);
        outcome = await this.#reconnect(device);
      }
      if (outcome === "connected") {
        this.#device = device;
        return true;
      }
      if (outcome === "served" && !this.#isSnapshot)
        throw new TorusError(
          "busy",
          `${device} is still served by another torusblk, which has lost the volume: end it`,
        );
    }
    return false;
  }

  /** Devices of a volume that has been elsewhere since, or of which something may be lost, must not go on with it. */
  async #giveUp(waiting: readonly WaitingDevice[]): Promise<void> {
    const { kernel, say } = this.#deps;
    if (this.#isSnapshot) return;
    for (const { device } of waiting) {
      if (!kernel.isConnected(device)) continue;
      await kernel.disconnect(device);
      say(
        `${device} cannot go on: since it was served volume ${this.#options.volume} was attached elsewhere, or something it was answered may be ` +
          "lost. It gives errors from now on: unmount it, and check the file system when it is mounted again",
      );
    }
  }

  get #isSnapshot(): boolean {
    return parseSnapshotName(this.#options.volume) !== null;
  }

  #reconnect(device: string): Promise<"connected" | "served" | "gone"> {
    const { kernel, log } = this.#deps;
    return this.#entered(async (served) => {
      const outcome = await kernel.reconnect(device, this.#name, served, this.#options.reconnectSeconds);
      if (outcome === "connected") log.info("The kernel has a new connection.", { device });
      return outcome;
    });
  }

  async #tellSize(): Promise<void> {
    const { kernel, volume, say } = this.#deps;
    const { sizeBytes } = volume.info;
    if (sizeBytes === this.#sizeBytes) return;
    await kernel.resize(this.#device, this.#name, sizeBytes);
    this.#sizeBytes = sizeBytes;
    say(`volume ${this.#options.volume} has ${formatBytes(sizeBytes)} now, and so has ${this.#device}`);
  }

  /** With a socket of the server for the kernel, which is nobody else's afterwards. */
  async #entered<Result>(give: (served: ServedSocket) => Promise<Result>): Promise<Result> {
    const { enterExport, socketPath, volume } = this.#deps;
    const { served, close } = await enterExport(socketPath, volume.info.name);
    try {
      return await give(served);
    } finally {
      close();
    }
  }
}
