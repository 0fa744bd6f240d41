// A device's content as a raw image: read with many reads in flight, given on in order.

import type { BlockDevice } from "#volume";
import { ContentPieces } from "./content-pieces.ts";
import { requireGoingOn } from "./stop-request.ts";

export interface ImageSink {
  /** Upward, and apart: what lies between two calls is a hole. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** That was all of an image of `sizeBytes`. */
  end(sizeBytes: number): Promise<void>;
}

/** What an image is made of: a volume, a snapshot, a file. */
export type ReadableDevice = Pick<BlockDevice, "info" | "read" | "extents">;

export interface DumpOptions {
  readonly signal: AbortSignal;
  /** Bytes of content given on so far. */
  readonly onProgress: (doneBytes: number) => void;
}

export const pieceBytes = 1024 * 1024;
/** Pieces under way at once. */
export const piecesAtOnce = 16;

interface Read {
  readonly offset: number;
  readonly bytes: Promise<Uint8Array>;
}

/** Bytes of content. Rejects with what reading and the sink met, and with `closed` when it was stopped. */
export async function dumpImage(
  device: ReadableDevice,
  sink: ImageSink,
  { signal, onProgress }: DumpOptions,
): Promise<number> {
  const pieces = new ContentPieces(device, pieceBytes);
  const reads: Read[] = [];
  let doneBytes = 0;
  for (let isMore = true; isMore || reads.length > 0; ) {
    requireGoingOn(signal);
    if (isMore && reads.length < piecesAtOnce) {
      const piece = await pieces.next();
      if (piece === null) isMore = false;
      else reads.push(startRead(device, piece.offset, piece.length));
      continue;
    }
    const read = reads.shift();
    if (read === undefined) break;
    const bytes = await read.bytes;
    await sink.write(read.offset, bytes);
    doneBytes += bytes.length;
    onProgress(doneBytes);
  }
  await sink.end(device.info.sizeBytes);
  return doneBytes;
}

function startRead(device: ReadableDevice, offset: number, length: number): Read {
  const bytes = device.read(offset, length);
  // Whoever awaits it sees the failure; when another failed first, nobody does.
  bytes.catch(() => {});
  return { offset, bytes };
}
