// What has to be appended again. The tail of a recovered log: blocks that are not sealed and durable on every member. What the map still needs of them is appended
// again in the new epoch, so that nothing of a new epoch rests on an open block of an old one [C5].

import type { Log } from "#host";
import type { BlockStore, PeerId } from "#model";
import { pageBytes, TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ExtentMap } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import { readLogCopy } from "./log-copy.ts";
import type { TailBlock } from "./recovery.ts";
import { eachPage } from "./replay.ts";
import type { RequestQueue } from "./request-queue.ts";
import type { LogBlock } from "./write-log.ts";

export interface TailDeps {
  readonly map: ExtentMap;
  readonly queue: RequestQueue;
  readonly table: BlockTable;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly log: Log;
}

/** Appends the live pages of `tail` again; the map then points to the new copies, and the table forgets the old blocks. */
export async function appendTail(tail: readonly TailBlock[], deps: TailDeps): Promise<void> {
  for (const block of tail) {
    await appendBlock(block, deps);
    deps.table.dropDead(block.id);
  }
}

async function appendBlock(block: TailBlock, deps: TailDeps): Promise<void> {
  const { map, queue } = deps;
  const bytes = await readTail(block, deps);
  const places: { page: number; at: number }[] = [];
  eachPage(bytes, (page, at) => places.push({ page, at }));
  for (const { page, at } of places) {
    const leaf = await map.load(page);
    const slot = page % leafPages;
    if (leaf.ids[slot] !== block.id || leaf.offsets[slot] !== at) continue;
    // Not new data: on a full pool it may use what peers keep back [C16].
    await queue.move(page, block.id, at, bytes.subarray(at * pageBytes, (at + 1) * pageBytes));
  }
}

/** The bytes that were replayed, again, from anybody who has them: peers come and go while a volume is attached. */
async function readTail(block: TailBlock, deps: TailDeps): Promise<Uint8Array> {
  const { ref, chain, length, checksum } = block;
  const holders = block.holders.map(({ peer, held }) => ({ peer, held: Math.min(held, length) }));
  const { bytes, verified } = await readLogCopy(ref, holders, chain, deps);
  if (verified.length === length && verified.blockChecksum === checksum) return bytes.subarray(0, length);
  throw new TorusError("incomplete", `block ${ref.index} of the log cannot be read again as it was`, {
    waitingFor: holders.map(({ peer }) => peer),
  });
}

/** Appends the live pages of blocks of this very log again, whose copies are too few; resolves when all are in the log. */
export async function moveBlocks(
  blocks: readonly LogBlock[],
  map: ExtentMap,
  queue: RequestQueue,
): Promise<void> {
  for (const block of blocks) {
    const places: { page: number; at: number }[] = [];
    eachPage(block.buffer.subarray(0, block.length), (page, at) => places.push({ page, at }));
    const pending: (number | Promise<number>)[] = [];
    for (const { page, at } of places) {
      await map.load(page);
      const content = block.buffer.subarray(at * pageBytes, (at + 1) * pageBytes);
      const moved = queue.move(page, block.id, at, content);
      // A failure is everybody's: it is met again below, and must not count as unhandled before.
      if (typeof moved !== "number") moved.catch(() => {});
      pending.push(moved);
    }
    await Promise.all(pending);
  }
}
