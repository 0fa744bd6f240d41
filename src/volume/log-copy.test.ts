// Copies of a block of the log, some damaged: what is read from all of them together, and what is not taken for its end.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlockStore, PeerId, RecordFrame } from "#model";
import { blockType, decodeRecordFrame, isTorusError, pageBytes, TorusError } from "#model";
import { readLogCopy } from "./log-copy.ts";
import { WriteLog } from "./write-log.ts";

const ref = { type: blockType.data, volume: 1, epoch: 3, index: 5 };
const recordBytes = 2 * pageBytes;
const records = 5;

function silent(): void {}
const log = { debug: silent, info: silent, warn: silent, error: silent, child: () => log };

/** A block of records with one page each, behind a record with `sequence`. */
function block(sequence: number): Uint8Array {
  const writer = new WriteLog({ sequence, previous: 77, position: 0 });
  const { buffer } = writer.open(ref, 1, new Uint8Array(records * recordBytes));
  for (let i = 0; i < records; i++) {
    writer.addPage(i, new Uint8Array(pageBytes).fill(i + 1), 0);
    writer.closeRecord(0, { index: 0, offset: 0 });
  }
  return buffer;
}

const whole = block(9);
const chain = { ...(decodeRecordFrame(whole, 0) as RecordFrame), sequence: 9, checksum: 77 };

/** The first `length` bytes of the block, with a wrong bit in the page of record `rotten`. */
function copy(length = whole.length, rotten: number | null = null): Uint8Array {
  const bytes = whole.slice(0, length);
  if (rotten !== null) bytes[rotten * recordBytes + pageBytes + 5] ^= 1;
  return bytes;
}

function read(copies: Record<PeerId, Uint8Array | TorusError>, held: Record<PeerId, number> = {}) {
  let reads = 0;
  const storeOf = (peer: PeerId): BlockStore => {
    const answer = async (_: unknown, offset: number, length: number): Promise<Uint8Array> => {
      reads += 1;
      const bytes = copies[peer];
      if (bytes instanceof TorusError) throw bytes;
      return bytes.subarray(offset, offset + length);
    };
    return { peer, read: answer } as unknown as BlockStore;
  };
  const holders = Object.entries(copies)
    .map(([peer, bytes]) => ({ peer, held: bytes instanceof TorusError ? (held[peer] ?? 0) : bytes.length }))
    .sort((a, b) => b.held - a.held);
  return readLogCopy(ref, holders, chain, { storeOf, log }).then((found) => ({ ...found, reads }));
}

test("one copy that is whole is enough", async () => {
  const { bytes, verified, isRotten, reads } = await read({ a: copy(), b: copy(recordBytes), c: copy() });
  assert.deepEqual(Buffer.from(bytes), Buffer.from(whole));
  assert.equal(verified.length, whole.length);
  assert.equal(isRotten, false);
  assert.equal(reads, 1);
});

test("[C13] where one copy is damaged another goes on, to and fro", async () => {
  const { bytes, verified, isRotten } = await read({
    a: copy(whole.length, 1),
    b: copy(3 * recordBytes, 0),
    c: copy(whole.length, 3),
  });
  assert.equal(verified.length, whole.length);
  assert.deepEqual(Buffer.from(bytes.subarray(0, verified.length)), Buffer.from(whole));
  assert.equal(isRotten, false);
  const { blockChecksum } = (await read({ a: whole })).verified;
  assert.equal(verified.blockChecksum, blockChecksum);
});

test("[C13] an end with rotten bytes behind it is called that", async () => {
  const { verified, isRotten } = await read({ a: copy(whole.length, 2), b: copy(recordBytes) });
  assert.equal(verified.length, 2 * recordBytes);
  assert.equal(isRotten, true);
  assert.equal((await read({ a: copy(whole.length, 0) })).isRotten, true);
});

test("records that follow others than those known are a gap, not rot", async () => {
  const { verified, isRotten } = await read({ a: block(12) });
  assert.equal(verified.length, 0);
  assert.equal(isRotten, false);
});

test("a copy that may be longer and does not come is waited for", async () => {
  const away = new TorusError("unavailable", "it is away");
  const incomplete = (error: unknown) => isTorusError(error, "incomplete");
  await assert.rejects(read({ a: away, b: copy(recordBytes) }, { a: whole.length }), incomplete);
  await assert.rejects(read({ a: away, b: copy(whole.length, 2) }, { a: whole.length }), incomplete);
  assert.equal((await read({ a: away, b: copy() }, { a: whole.length })).verified.length, whole.length);
});
