// A backup becomes a volume's content: chunks are read, verified and written with many under way. The volume must be new: what the backup has
// nothing of is not touched.

import { TorusError } from "#model";
import type { BlockDevice } from "#volume";
import { segmentChunks } from "./chunk-codec.ts";
import { InFlight } from "./in-flight.ts";
import type { BackupManifest } from "./manifest-codec.ts";
import type { Repository } from "./repository.ts";
import { requireGoingOn } from "./stop-request.ts";
import { zeroRuns } from "./zero-pages.ts";

export interface RestoreOptions {
  readonly signal: AbortSignal;
  /** Bytes of chunks written so far. */
  readonly onProgress: (doneBytes: number) => void;
}

const chunksAtOnce = 16;

/** Bytes written; durable when it resolves. Rejects with `corrupt` when a chunk is missing or damaged, and as writing does. */
export async function restoreBackup(
  manifest: BackupManifest,
  repository: Repository,
  device: BlockDevice,
  { signal, onProgress }: RestoreOptions,
): Promise<number> {
  const work = new InFlight(chunksAtOnce);
  let doneBytes = 0;
  let writtenBytes = 0;
  const chunk = async (number: number, hash: string): Promise<void> => {
    const offset = number * manifest.chunkBytes;
    const bytes = await repository.chunk(hash);
    requireChunkLength(bytes.length, number, manifest);
    for (const { start, end, isZero } of zeroRuns(bytes)) {
      if (isZero) continue;
      await device.write(offset + start, bytes.subarray(start, end), false);
      writtenBytes += end - start;
    }
    doneBytes += bytes.length;
    onProgress(doneBytes);
  };
  try {
    for (const [number, segment] of manifest.segments.entries()) {
      for (const [slot, hash] of await repository.index(segment?.hash ?? null)) {
        requireGoingOn(signal);
        await work.add(() => chunk(number * segmentChunks + slot, hash));
      }
    }
    await work.end();
  } finally {
    await work.settle();
  }
  await device.flush();
  return writtenBytes;
}

/** Throws `corrupt`: a chunk is as long as its place in the volume. */
export function requireChunkLength(bytes: number, number: number, manifest: BackupManifest): void {
  const { chunkBytes, sizeBytes, volume, name } = manifest;
  if (bytes === Math.min(chunkBytes, sizeBytes - number * chunkBytes)) return;
  throw new TorusError(
    "corrupt",
    `chunk ${number} of backup ${volume.name}@${name} has ${bytes} bytes, which its place has not`,
  );
}
