// The kernel's network block devices, /dev/nbdN: is there a driver, which device is free, give one a socket of a server, and another socket
// when that one is dead; tell it of another size; take it away. The driver is told by netlink, its state is read from sysfs.
//
// A device has the name of whom it waits for, which the kernel keeps with it (`backend`): a socket is taken from nobody else.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Clock } from "#host";
import { sleep } from "#host";
import { TorusError } from "#model";
import type { NetlinkSocket } from "./nbd-driver.ts";
import { errno, NbdDriver, refusal } from "./nbd-driver.ts";
import { connectRequest, disconnectRequest, reconnectRequest, resizeRequest } from "./nbd-netlink-codec.ts";

export interface KernelNbdOptions {
  /** "/sys" and "/dev" outside tests. */
  readonly sysRoot: string;
  readonly devRoot: string;
}

/** What a program said that was run to its end. */
export interface Outcome {
  /** The exit code; null when a signal ended it. */
  readonly status: number | null;
  /** Both its outputs, in the order they came. */
  readonly output: string;
}

export interface KernelNbdDeps {
  readonly clock: Clock;
  /** Runs a program to its end; null when there is no such program. */
  readonly run: (program: string, args: readonly string[]) => Promise<Outcome | null>;
  /** Whether a program or a mount has it open, connected or not. */
  readonly isOpen: (device: string) => Promise<boolean>;
  /** Of generic netlink. Rejects with `unsupported`. */
  readonly openNetlink: () => Promise<NetlinkSocket>;
}

/** A socket whose other end serves an export, behind the handshake. */
export interface ServedSocket {
  /** A file descriptor of this process; the kernel keeps the socket when that is closed. */
  readonly descriptor: number;
  readonly sizeBytes: number;
  /** Transmission flags. */
  readonly flags: number;
}

/** Whom a device waits for. */
export interface DeviceName {
  readonly volume: string;
  readonly token: string;
}

export interface ConnectRequest {
  readonly served: ServedSocket;
  readonly name: DeviceName;
  /** A device such as /dev/nbd3; null for the first that is free. */
  readonly device: string | null;
  /** What the kernel takes for a sector. */
  readonly sectorBytes: number;
  /** How long requests wait for another socket when this one is dead, before they fail; 0: they fail at once. */
  readonly deadSeconds: number;
}

/** A device that has a name, whether or not anybody serves it now. */
export interface WaitingDevice extends DeviceName {
  readonly device: string;
}

const alternative =
  "Without it, serve the volume with `torusblk nbdserve` and use it from user space: nbdfuse makes a file of it, " +
  "qemu takes nbd://HOST:PORT/VOLUME as a disk";

const settleMsMax = 10_000;
const pollMs = 20;

/** A request that has no answer after this long is sent again, on the next socket. */
export const requestSecondsMax = 15;

const backendPrefix = "torus";

export class KernelNbd {
  readonly #options: KernelNbdOptions;
  readonly #deps: KernelNbdDeps;
  readonly #driver: NbdDriver;

  constructor(options: KernelNbdOptions, deps: KernelNbdDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#driver = new NbdDriver(deps.openNetlink);
  }

  /** Rejects with `unsupported` and what to install when this machine cannot do it. */
  async require(): Promise<void> {
    if (!this.#hasDriver()) {
      const loaded = await this.#deps.run("modprobe", ["nbd"]);
      if (!this.#hasDriver()) {
        const reason =
          loaded === null
            ? "there is no modprobe"
            : firstLine(loaded.output) || `modprobe: exit code ${loaded.status}`;
        throw new TorusError(
          "unsupported",
          `this kernel has no nbd driver (${reason}). Load the module "nbd" on the host; Debian and Ubuntu have it in ` +
            `linux-image and linux-modules-extra. ${alternative}`,
        );
      }
    }
    (await this.#deps.openNetlink()).close();
  }

  /** Devices that were attached for this volume, by whatever process, and not detached. */
  waiting(volume: string): WaitingDevice[] {
    return this.#devices().flatMap((name) => {
      const found = this.#nameOf(name);
      return found?.volume === volume ? [{ ...found, device: `${this.#options.devRoot}/${name}` }] : [];
    });
  }

  /** Gives a free device the socket, and tells its path; the device is ready when it resolves. */
  async connect(request: ConnectRequest): Promise<string> {
    const candidates =
      request.device === null ? await this.#freeDevices() : [await this.#requireFree(request.device)];
    for (const name of candidates) {
      const device = `${this.#options.devRoot}/${name}`;
      const code = await this.#driver.ask((family, sequence) =>
        connectRequest(family, sequence, {
          index: indexOf(name),
          sizeBytes: request.served.sizeBytes,
          blockBytes: request.sectorBytes,
          timeoutSeconds: requestSecondsMax,
          deadSeconds: request.deadSeconds,
          serverFlags: request.served.flags,
          socket: request.served.descriptor,
          backend: backendOf(request.name),
        }),
      );
      if (code === 0) {
        await this.#requireName(device, request.name);
        return device;
      }
      // Somebody else may have been faster; anything else would fail the next device as well.
      if (code !== errno.busy) throw refusal(device, code);
    }
    throw new TorusError(
      "busy",
      "every /dev/nbdN is in use, or still open in a program that used it before: end that, detach one, or load the module with more (modprobe nbd nbds_max=64)",
    );
  }

  /**
   * Gives a device of this name another socket in the place of a dead one. "served": the one it has lives. "gone": it was detached.
   */
  async reconnect(
    device: string,
    name: DeviceName,
    served: ServedSocket,
    deadSeconds: number,
  ): Promise<"connected" | "served" | "gone"> {
    const { descriptor: socket, sizeBytes } = served;
    const of = { index: indexOf(this.#blockName(device)), socket, sizeBytes, deadSeconds };
    const code = await this.#driver.ask((family, sequence) =>
      reconnectRequest(family, sequence, { ...of, backend: backendOf(name) }),
    );
    if (code === 0) return "connected";
    if (code === errno.noDeadSocket) return "served";
    if (code === errno.invalid || code === errno.missing) return "gone";
    throw refusal(device, code);
  }

  /** Tells the kernel, and through it programs, of another size. */
  async resize(device: string, name: DeviceName, sizeBytes: number): Promise<void> {
    const of = { index: indexOf(this.#blockName(device)), sizeBytes, backend: backendOf(name) };
    const code = await this.#driver.ask((family, sequence) => resizeRequest(family, sequence, of));
    if (code !== 0) throw refusal(device, code);
  }

  /** Takes the device away: what waits for it, and what is asked of it from now on, fails. */
  async disconnect(device: string): Promise<void> {
    const index = indexOf(this.#blockName(device));
    if (!this.isConnected(device)) throw new TorusError("not-found", `nothing is attached to ${device}`);
    const code = await this.#driver.ask((family, sequence) => disconnectRequest(family, sequence, index));
    if (code !== 0) throw refusal(device, code);
  }

  isConnected(device: string): boolean {
    const folder = `${this.#options.sysRoot}/block/${this.#blockName(device)}`;
    return existsSync(`${folder}/pid`) || Number(textOf(`${folder}/size`)) > 0;
  }

  /** Whether a program or a mount has it open. The system itself looks into a device for a moment when a program has written to it. */
  async isInUse(device: string): Promise<boolean> {
    return !(await this.#becomes(async () => !(await this.#deps.isOpen(device)), glanceMsMax));
  }

  #hasDriver(): boolean {
    return existsSync(`${this.#options.sysRoot}/module/nbd`) || this.#devices().length > 0;
  }

  #devices(): string[] {
    try {
      return readdirSync(`${this.#options.sysRoot}/block`)
        .filter((name) => /^nbd\d+$/.test(name))
        .sort((a, b) => indexOf(a) - indexOf(b));
    } catch {
      return [];
    }
  }

  #nameOf(name: string): DeviceName | null {
    const text = textOf(`${this.#options.sysRoot}/block/${name}/backend`);
    const match = /^([^:]+):([^:]+):([^:]+)$/.exec(text);
    return match === null || match[1] !== backendPrefix ? null : { volume: match[2], token: match[3] };
  }

  /** Without its name a device could be followed by anybody. */
  async #requireName(device: string, { token }: DeviceName): Promise<void> {
    const hasName = () => this.#nameOf(this.#blockName(device))?.token === token;
    if (await this.#becomes(async () => hasName() && this.isConnected(device), settleMsMax)) return;
    await this.disconnect(device);
    throw new TorusError("unsupported", `${device} does not keep a name: this takes Linux 5.14 or later`);
  }

  async #freeDevices(): Promise<string[]> {
    const free: string[] = [];
    for (const name of this.#devices()) if (await this.#isFree(name)) free.push(name);
    return free;
  }

  /** Who had a device before it was connected would go on with what is not the same any more. */
  async #isFree(name: string): Promise<boolean> {
    const device = `${this.#options.devRoot}/${name}`;
    return !this.isConnected(device) && !(await this.#deps.isOpen(device));
  }

  async #requireFree(device: string): Promise<string> {
    const name = this.#blockName(device);
    if (!this.#devices().includes(name)) {
      throw new TorusError(
        "not-found",
        `the kernel has no ${device}; it has ${this.#devices().join(", ") || "none"}`,
      );
    }
    if (this.isConnected(device)) {
      throw new TorusError(
        "busy",
        `${device} is in use: detach it with \`torusblk nbd --detach ${device}\`, or name no device`,
      );
    }
    // The system itself looks into a device for a moment when it was let go.
    if (await this.#becomes(() => this.#isFree(name), settleMsMax)) return name;
    const problem = `${device} is still open in a program, or mounted: end that first`;
    throw new TorusError("timeout", `${problem}; it was not released within ${settleMsMax / 1000} s`);
  }

  #blockName(device: string): string {
    const name = device.slice(device.lastIndexOf("/") + 1);
    if (!/^nbd\d+$/.test(name)) {
      throw new TorusError(
        "invalid-argument",
        `"${device}" is not a network block device: use a name such as /dev/nbd0`,
      );
    }
    return name;
  }

  async #becomes(condition: () => Promise<boolean>, withinMs: number): Promise<boolean> {
    const { clock } = this.#deps;
    const deadline = clock.monotonicMs() + withinMs;
    while (!(await condition())) {
      if (clock.monotonicMs() > deadline) return false;
      await sleep(clock, pollMs);
    }
    return true;
  }
}

/** How long the system may look into a device. */
const glanceMsMax = 1000;

function backendOf({ volume, token }: DeviceName): string {
  return `${backendPrefix}:${volume}:${token}`;
}

function indexOf(name: string): number {
  return Number(name.slice("nbd".length));
}

/** Empty when it cannot be read. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

function firstLine(text: string): string {
  return (
    text
      .split("\n")
      .map((line) => line.trim())
      .find((line) => line !== "") ?? ""
  );
}
