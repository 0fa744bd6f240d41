// A raw image becomes a device's content, with many writes in flight. Pages of zeroes are not written: on a device that has something
// there already, they become holes.

import { formatBytes, TorusError } from "#model";
import type { BlockDevice } from "#volume";
import { piecesAtOnce } from "./image-dump.ts";
import { InFlight } from "./in-flight.ts";
import { requireGoingOn } from "./stop-request.ts";
import { zeroRuns } from "./zero-pages.ts";

export interface ImageSource {
  /** The next bytes, a multiple of 4 KiB unless they are the last; null at the end. */
  next(): Promise<Uint8Array | null>;
}

/** What an image is put into: a volume, a file. */
export type WritableDevice = Pick<BlockDevice, "info" | "write" | "writeZeroes" | "flush">;

export interface LoadOptions {
  /** Nothing was ever written to the device. */
  readonly isNew: boolean;
  readonly signal: AbortSignal;
  /** Bytes of the image taken so far. */
  readonly onProgress: (doneBytes: number) => void;
}

export interface Loaded {
  readonly imageBytes: number;
  /** What was not zero. */
  readonly writtenBytes: number;
}

/** Durable when it resolves. Rejects with `invalid-argument` when the image does not fit, and as `dumpImage` does. */
export async function loadImage(
  source: ImageSource,
  device: WritableDevice,
  { isNew, signal, onProgress }: LoadOptions,
): Promise<Loaded> {
  const writes = new InFlight(piecesAtOnce);
  let imageBytes = 0;
  let writtenBytes = 0;
  try {
    for (let bytes = await source.next(); bytes !== null; bytes = await source.next()) {
      requireGoingOn(signal);
      const offset = imageBytes;
      imageBytes += bytes.length;
      requireRoom(imageBytes, device);
      for (const { start, end, isZero } of zeroRuns(bytes)) {
        if (isZero && isNew) continue;
        const run = bytes.subarray(start, end);
        if (!isZero) writtenBytes += run.length;
        await writes.add(() =>
          isZero
            ? device.writeZeroes(offset + start, run.length, false)
            : device.write(offset + start, run, false),
        );
      }
      onProgress(imageBytes);
    }
    await writes.end();
  } finally {
    await writes.settle();
  }
  await device.flush();
  return { imageBytes, writtenBytes };
}

function requireRoom(imageBytes: number, { info }: WritableDevice): void {
  if (imageBytes <= info.sizeBytes) return;
  throw new TorusError(
    "invalid-argument",
    `the image is larger than volume "${info.name}", which has ${formatBytes(info.sizeBytes)}: load it into a larger one`,
  );
}
