// FileContent: what a file is at a snapshot, as a device to read from: byte n of it is byte n of the file, and it ends where the file does.

import { pageBytes } from "#model";
import type { BlockDevice, BlockDeviceInfo, Extent } from "#volume";
import { decodeFileHeader } from "./file-header-codec.ts";

type Readable = Pick<BlockDevice, "info" | "read" | "extents">;

export class FileContent implements Readable {
  readonly info: BlockDeviceInfo;
  readonly #device: Readable;

  private constructor(device: Readable, lengthBytes: number) {
    this.#device = device;
    this.info = { ...device.info, sizeBytes: lengthBytes };
  }

  /** Over a snapshot of the volume that the file is on. Rejects with `corrupt` when it has no file. */
  static async open(snapshot: Readable): Promise<FileContent> {
    return new FileContent(snapshot, decodeFileHeader(await snapshot.read(0, pageBytes)));
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return this.#device.read(pageBytes + offset, length);
  }

  extents(offset: number, length: number, countMax: number): Promise<readonly Extent[]> {
    return this.#device.extents(pageBytes + offset, length, countMax);
  }
}
