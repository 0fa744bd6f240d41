// The data files of a cluster's peers, looked at from outside while their daemons are down: where each page of a volume
// lies, and what is in it.

import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { BlockRef } from "#model";
import { decodeRecordFrame, pageEntryBytes, recordEntriesOffset } from "#model";
import { pageBytes } from "./page-ledger.ts";

const chunkBytes = 8 * 1024 * 1024;

/** A copy of a page in a peer's data file. */
export interface PagePlace {
  readonly ref: BlockRef;
  /** Logical page of the volume. */
  readonly page: number;
  /** Byte in the data file. */
  readonly at: number;
}

function dataFile(peerDirectory: string): string {
  return join(peerDirectory, "blocks.torus");
}

/** Calls `visit` with each 4 KiB of the file. */
function eachPage(file: string, visit: (bytes: Buffer, at: number) => void): void {
  const descriptor = openSync(file, "r");
  try {
    const chunk = Buffer.alloc(chunkBytes);
    for (let at = 0; ; ) {
      const read = readSync(descriptor, chunk, 0, chunkBytes, at);
      for (let within = 0; within + pageBytes <= read; within += pageBytes) {
        visit(chunk.subarray(within, within + pageBytes), at + within);
      }
      if (read < chunkBytes) return;
      at += read;
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Every page of every record in the file, in file order. */
export function pagesOf(peerDirectory: string): PagePlace[] {
  const places: PagePlace[] = [];
  let expected: { ref: BlockRef; pages: number[] } | null = null;
  eachPage(dataFile(peerDirectory), (bytes, at) => {
    if (expected !== null && expected.pages.length > 0) {
      places.push({ ref: expected.ref, page: expected.pages.shift()!, at });
      return;
    }
    const frame = decodeRecordFrame(bytes, 0);
    if (frame === null) return;
    const pages = Array.from({ length: frame.pages }, (_, i) =>
      Number(bytes.readBigUInt64LE(recordEntriesOffset + i * pageEntryBytes)),
    );
    expected = { ref: frame.ref, pages };
  });
  return places;
}

/** Changes one bit of the byte at `at`. */
export function flipBit(peerDirectory: string, at: number): void {
  const descriptor = openSync(dataFile(peerDirectory), "r+");
  try {
    const byte = Buffer.alloc(1);
    readSync(descriptor, byte, 0, 1, at);
    byte[0] ^= 0x10;
    writeSync(descriptor, byte, 0, 1, at);
  } finally {
    closeSync(descriptor);
  }
}

/** How many 4 KiB of the file are `wanted`. */
export function copiesIn(peerDirectory: string, wanted: Buffer): number {
  let copies = 0;
  eachPage(dataFile(peerDirectory), (bytes) => {
    if (bytes.equals(wanted)) copies += 1;
  });
  return copies;
}
