// Disk images of random bytes, and whether two files are the same.

import { createHash, randomFillSync } from "node:crypto";
import { closeSync, createReadStream, openSync, writeSync } from "node:fs";
import { pipeline } from "node:stream/promises";

const chunkBytes = 8 * 1024 * 1024;

/** Writes `sizeBytes` random bytes (a multiple of 8 MiB) to `path`. */
export function writeRandomImage(path: string, sizeBytes: number): void {
  const file = openSync(path, "w");
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
    randomFillSync(chunk);
    writeSync(file, chunk, 0, chunk.length, offset);
  }
  closeSync(file);
}

/** SHA-256 of the first `sizeBytes` of a file. */
export async function digestOf(path: string, sizeBytes: number): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { end: sizeBytes - 1, highWaterMark: 1024 * 1024 }), hash);
  return hash.digest("hex");
}
