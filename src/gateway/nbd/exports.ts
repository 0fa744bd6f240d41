// ExportCatalog: what a server serves, as the server sees it. A seam: devices that are already open
// (`DeviceExports`, here), and the volumes of a cluster (torusblk).

import { TorusError } from "#model";
import type { BlockDevice, BlockDeviceInfo } from "#volume";

export interface ExportSummary {
  readonly name: string;
  /** For people; may be empty. */
  readonly description: string;
  /** Opened by its name alone: an empty name never means it. */
  readonly byNameOnly?: boolean;
}

export interface ExportCatalog {
  list(): Promise<readonly ExportSummary[]>;
  /** What `open` would give, without opening it. Rejects with `not-found`. */
  describe(name: string): Promise<BlockDeviceInfo>;
  /** Names for `changedSince` of that device, without opening it. Rejects with `not-found`. */
  snapshots(name: string): Promise<readonly string[]>;
  /**
   * The device of that name, shared by all who open it. Rejects with `not-found`, or with whatever keeps it from
   * being opened; the message goes to the client, so it is written for a person. `onLost` is called when the device fails
   * for good: every request it has and gets is answered with an error, and its opener should let go of it.
   */
  open(name: string, onLost: () => void): Promise<BlockDevice>;
  /** Ends the `open` with that `onLost`. Called when no request of the opener is in flight any more. Does not reject. */
  release(device: BlockDevice, onLost: () => void): Promise<void>;
}

/** A fixed set of open devices; opening and releasing change nothing. */
export class DeviceExports implements ExportCatalog {
  readonly #devices: ReadonlyMap<string, BlockDevice>;

  constructor(devices: readonly BlockDevice[]) {
    this.#devices = new Map(devices.map((device) => [device.info.name, device]));
  }

  async list(): Promise<readonly ExportSummary[]> {
    return [...this.#devices.values()].map(({ info }) => ({
      name: info.name,
      description: info.description,
    }));
  }

  async describe(name: string): Promise<BlockDeviceInfo> {
    return this.#device(name).info;
  }

  /** What open devices know of their snapshots is theirs alone. */
  async snapshots(name: string): Promise<readonly string[]> {
    this.#device(name);
    return [];
  }

  async open(name: string): Promise<BlockDevice> {
    return this.#device(name);
  }

  async release(): Promise<void> {}

  #device(name: string): BlockDevice {
    const device = this.#devices.get(name);
    if (device === undefined) {
      throw new TorusError(
        "not-found",
        `there is no export "${name}" here; served: ${[...this.#devices.keys()].join(", ")}`,
      );
    }
    return device;
  }
}
