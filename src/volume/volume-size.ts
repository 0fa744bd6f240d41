// VolumeSize: how large an attached volume is, and which requests wait while that changes. A volume that is to become smaller answers
// nothing past its new end until it is decided: then those who waited are told whether that part is still there.

import type { BlockDeviceInfo } from "./block-device.ts";

export class VolumeSize {
  #info: BlockDeviceInfo;
  /** What lies below may be asked for now. */
  #openBytes: number;
  #nextBytes: number;
  #settled: Promise<void> | null = null;
  #release: () => void = () => {};

  constructor(info: BlockDeviceInfo) {
    this.#info = info;
    this.#openBytes = info.sizeBytes;
    this.#nextBytes = info.sizeBytes;
  }

  get info(): BlockDeviceInfo {
    return this.#info;
  }

  get bytes(): number {
    return this.#info.sizeBytes;
  }

  /** What it will be once the change under way is committed. */
  get nextBytes(): number {
    return this.#nextBytes;
  }

  /** Null when what lies below `endBytes` may be asked for now; else resolves when it has to be asked again. */
  wait(endBytes: number): Promise<void> | null {
    return endBytes <= this.#openBytes ? null : this.#settled;
  }

  /** Begins a change: what is past the smaller of the two sizes waits until `settle`. */
  begin(bytes: number): void {
    this.#nextBytes = bytes;
    this.#openBytes = Math.min(bytes, this.bytes);
    this.#settled = new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  /** Ends it, at whatever size. */
  settle(bytes: number): void {
    this.#info = { ...this.#info, sizeBytes: bytes };
    this.#nextBytes = bytes;
    this.#openBytes = bytes;
    this.#settled = null;
    this.#release();
  }
}
