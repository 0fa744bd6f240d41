// The kernel's network block devices, /dev/nbdN: is there a driver, which device is free, connect one to a socket,
// disconnect it. The work is done by the program nbd-client; the state is read from sysfs.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Clock } from "#host";
import { sleep } from "#host";
import { TorusError } from "#model";
import type { Outcome } from "./child-program.ts";

export interface KernelNbdOptions {
  /** "/sys" and "/dev" outside tests. */
  readonly sysRoot: string;
  readonly devRoot: string;
}

export interface KernelNbdDeps {
  readonly clock: Clock;
  /** Runs a program to its end; null when there is no such program. */
  readonly run: (program: string, args: readonly string[]) => Promise<Outcome | null>;
  /** Whether a program or a mount has it open, connected or not. */
  readonly isOpen: (device: string) => boolean;
}

export interface ConnectRequest {
  readonly socketPath: string;
  readonly exportName: string;
  /** A device such as /dev/nbd3; null for the first that is free. */
  readonly device: string | null;
  /** What the kernel takes for a sector. */
  readonly sectorBytes: number;
}

const alternative =
  "Without it, serve the volume with `torusblk nbdserve` and use it from user space: nbdfuse makes a file of it, " +
  "qemu takes nbd://HOST:PORT/VOLUME as a disk";

const settleMsMax = 10_000;
const pollMs = 20;

export class KernelNbd {
  readonly #options: KernelNbdOptions;
  readonly #deps: KernelNbdDeps;

  constructor(options: KernelNbdOptions, deps: KernelNbdDeps) {
    this.#options = options;
    this.#deps = deps;
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
    if ((await this.#deps.run("nbd-client", ["--version"])) === null) {
      throw new TorusError(
        "unsupported",
        `nbd-client is missing: install the package nbd-client. ${alternative}`,
      );
    }
  }

  /** Connects a device to the socket of a server and gives its path; the device is ready when it resolves. */
  async connect(request: ConnectRequest): Promise<string> {
    const candidates =
      request.device === null ? this.#freeDevices() : [await this.#requireFree(request.device)];
    if (candidates.length === 0) {
      throw new TorusError(
        "busy",
        "every /dev/nbdN is in use, or still open in a program that used it before: end that, detach one, or load the module with more (modprobe nbd nbds_max=64)",
      );
    }
    let refusal = "";
    for (const name of candidates) {
      const device = `${this.#options.devRoot}/${name}`;
      const args = [
        "-unix",
        request.socketPath,
        device,
        "-name",
        request.exportName,
        "-block-size",
        String(request.sectorBytes),
      ];
      const outcome = await this.#deps.run("nbd-client", args);
      if (outcome?.status === 0) {
        await this.#waitUntil(() => this.isConnected(device), `${device} did not become ready`);
        return device;
      }
      refusal = `${device}: ${outcome === null ? "nbd-client is gone" : lastLine(outcome.output) || `exit code ${outcome.status}`}`;
      // Somebody else may have been faster; anything else would fail the next device as well.
      if (!this.isConnected(device)) break;
    }
    throw new TorusError("io", `nbd-client could not attach the volume (root only): ${refusal}`);
  }

  /** Disconnects; resolves when the kernel has let go. */
  async disconnect(device: string): Promise<void> {
    const name = this.#nameOf(device);
    if (!this.isConnected(device)) throw new TorusError("not-found", `nothing is attached to ${device}`);
    const outcome = await this.#deps.run("nbd-client", ["-d", `${this.#options.devRoot}/${name}`]);
    if (outcome === null) {
      throw new TorusError("unsupported", "nbd-client is missing: install the package nbd-client");
    }
    if (outcome.status !== 0) {
      throw new TorusError(
        "io",
        `nbd-client could not detach ${device} (root only): ${lastLine(outcome.output)}`,
      );
    }
    await this.#waitUntil(() => !this.isConnected(device), `${device} is still attached`);
  }

  isConnected(device: string): boolean {
    const folder = `${this.#options.sysRoot}/block/${this.#nameOf(device)}`;
    if (existsSync(`${folder}/pid`)) return true;
    try {
      return Number(readFileSync(`${folder}/size`, "utf8")) > 0;
    } catch {
      return false;
    }
  }

  #hasDriver(): boolean {
    return existsSync(`${this.#options.sysRoot}/module/nbd`) || this.#devices().length > 0;
  }

  #devices(): string[] {
    try {
      return readdirSync(`${this.#options.sysRoot}/block`)
        .filter((name) => /^nbd\d+$/.test(name))
        .sort((a, b) => Number(a.slice(3)) - Number(b.slice(3)));
    } catch {
      return [];
    }
  }

  #freeDevices(): string[] {
    return this.#devices().filter((name) => !this.isConnected(name) && !this.#isOpen(name));
  }

  /** Who had a device before it was connected would go on with what is not the same any more. */
  #isOpen(name: string): boolean {
    return this.#deps.isOpen(`${this.#options.devRoot}/${name}`);
  }

  async #requireFree(device: string): Promise<string> {
    const name = this.#nameOf(device);
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
    const problem = `${device} is still open in a program, or mounted: end that first; it was not released`;
    await this.#waitUntil(() => !this.#isOpen(name), problem);
    return name;
  }

  #nameOf(device: string): string {
    const name = device.slice(device.lastIndexOf("/") + 1);
    if (!/^nbd\d+$/.test(name)) {
      throw new TorusError(
        "invalid-argument",
        `"${device}" is not a network block device: use a name such as /dev/nbd0`,
      );
    }
    return name;
  }

  async #waitUntil(condition: () => boolean, problem: string): Promise<void> {
    const { clock } = this.#deps;
    const deadline = clock.monotonicMs() + settleMsMax;
    while (!condition()) {
      if (clock.monotonicMs() > deadline)
        throw new TorusError("timeout", `${problem} within ${settleMsMax / 1000} s`);
      await sleep(clock, pollMs);
    }
  }
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

function firstLine(text: string): string {
  return lines(text)[0] ?? "";
}

function lastLine(text: string): string {
  return lines(text).at(-1) ?? "";
}
