// LimitedVolume: an attached volume as those see it who are to keep to its limits. Reads, writes, trims and zeroings wait for them, in the
// order they came; a trim or zeroing counts as a request without bytes. What makes durable, and what asks about the map, waits for nothing.

import type { CutRecord } from "#metadata";
import type { TakeMemory, TorusError } from "#model";
import type { BlockDeviceInfo, Extent } from "./block-device.ts";
import type { AttachedVolume } from "./catalog.ts";
import type { Throttle } from "./throttle.ts";

export class LimitedVolume implements AttachedVolume {
  readonly #volume: AttachedVolume;
  readonly #throttle: Throttle;
  readonly device: string | null;

  constructor(volume: AttachedVolume, throttle: Throttle, device: string | null = null) {
    this.#volume = volume;
    this.#throttle = throttle;
    this.device = device;
  }

  /** The same volume as it is for those who need not keep to its limits. */
  get unlimited(): AttachedVolume {
    return this.#volume;
  }

  get info(): BlockDeviceInfo {
    return this.#volume.info;
  }

  get lost(): Promise<TorusError> {
    return this.#volume.lost;
  }

  read(offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    const pending = this.#throttle.enter(length);
    if (pending === null) return this.#volume.read(offset, length, take);
    return pending.then(() => this.#volume.read(offset, length, take));
  }

  write(offset: number, bytes: Uint8Array, fua: boolean): Promise<void> {
    const pending = this.#throttle.enter(bytes.length);
    if (pending === null) return this.#volume.write(offset, bytes, fua);
    const copy = Uint8Array.from(bytes);
    return pending.then(() => this.#volume.write(offset, copy, fua));
  }

  trim(offset: number, length: number, fua: boolean): Promise<void> {
    const pending = this.#throttle.enter(0);
    if (pending === null) return this.#volume.trim(offset, length, fua);
    return pending.then(() => this.#volume.trim(offset, length, fua));
  }

  writeZeroes(offset: number, length: number, fua: boolean): Promise<void> {
    const pending = this.#throttle.enter(0);
    if (pending === null) return this.#volume.writeZeroes(offset, length, fua);
    return pending.then(() => this.#volume.writeZeroes(offset, length, fua));
  }

  flush(): Promise<void> {
    return this.#volume.flush();
  }

  extents(offset: number, length: number, countMax: number): Promise<readonly Extent[]> {
    return this.#volume.extents(offset, length, countMax);
  }

  changedSince(
    snapshot: string,
    offset: number,
    length: number,
    countMax: number,
  ): Promise<readonly Extent[]> {
    return this.#volume.changedSince(snapshot, offset, length, countMax);
  }

  cut(): Promise<CutRecord | null> {
    return this.#volume.cut();
  }

  close(): Promise<void> {
    return this.#volume.close();
  }
}
