// What the parts of the store suite share: what is under test, and sample blocks put into it.

import assert from "node:assert/strict";
import type { BlockRef, BlockStore, ErrorCode } from "#model";
import { isTorusError } from "#model";
import { sampleBlock } from "./record.fixture.ts";

export interface OpenedStore {
  readonly store: BlockStore;
  /** Stops the store (losing what is not durable, if asked) and starts it again; the old object is not used any more. */
  readonly reopen?: (options: { readonly loseUnsynced: boolean }) => Promise<BlockStore>;
  /** Flips one byte of what is stored for a block. */
  readonly corrupt?: (ref: BlockRef, offset: number) => Promise<void> | void;
  /** Frees all; also closes `store`. */
  readonly close: () => Promise<void>;
}

/** Opens an empty store with room for at least 16 blocks of `suiteCapacityBytes`. */
export type OpenStore = () => Promise<OpenedStore>;

export const suiteCapacityBytes = 256 * 1024;

export const volume = 7;
export const epoch = 3;
export const refOf = (index: number, changes: Partial<BlockRef> = {}): BlockRef => ({
  type: 0,
  volume,
  epoch,
  index,
  ...changes,
});

export type Case = (opened: OpenedStore) => Promise<void>;

export async function rejects(
  promise: Promise<unknown>,
  code: ErrorCode,
  details: Record<string, unknown> = {},
): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isTorusError(error), `a TorusError, not ${error}`);
    assert.equal(error.code, code, error.message);
    for (const [key, value] of Object.entries(details))
      assert.equal(error.details[key], value, `details.${key}`);
    return true;
  });
}

/** Appends `count` sample records to `ref` one after another and answers with the block they make. */
export async function appendSample(store: BlockStore, ref: BlockRef, count: number) {
  const block = sampleBlock(ref, count);
  for (let i = 0; i < count; i++) {
    await store.append(ref, block.offsets[i], record(block, i), suiteCapacityBytes);
  }
  return block;
}

export function record(block: ReturnType<typeof sampleBlock>, from: number, to = from + 1): Uint8Array {
  return block.bytes.subarray(block.offsets[from], block.offsets[to]);
}

export async function statusOf(store: BlockStore, ref: BlockRef) {
  const [status] = await store.stat([ref]);
  return status;
}
