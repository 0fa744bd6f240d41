// What has to be appended again. The tail of a recovered log: blocks that are not sealed and durable on every member. What the map still needs of them is appended
// again in the new epoch, so that nothing of a new epoch rests on an open block of an old one [C5]. Of a volume that keeps history, every record of them
// is, in order and with its time: what is open of the old log is lost to the history, and the new log has it all.

import type { Log } from "#host";
import type { BlockStore, PeerId } from "#model";
import { pageBytes, TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ExtentMap } from "./extent-map.ts";
import { leafPages } from "./inode-codec.ts";
import { readLogCopy } from "./log-copy.ts";
import type { LogWriter } from "./log-writer.ts";
import type { RecordTime } from "./record-time.ts";
import type { TailBlock } from "./recovery.ts";
import { eachPage, eachRecord } from "./replay.ts";
import type { RequestQueue } from "./request-queue.ts";
import type { LogBlock } from "./write-log.ts";

export interface TailDeps {
  readonly writer: LogWriter;
  readonly times: RecordTime;
  readonly map: ExtentMap;
  readonly queue: RequestQueue;
  readonly table: BlockTable;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly log: Log;
}

/**
 * Appends what is in `tail` again; the map then points to the new copies, and the table forgets the old blocks. `timeMs`: no record of the log before
 * is of a later time.
 */
export async function appendTail(
  tail: readonly TailBlock[],
  { keepsHistory, timeMs }: { readonly keepsHistory: boolean; readonly timeMs: number },
  deps: TailDeps,
): Promise<void> {
  if (keepsHistory) await appendRecords(tail, deps);
  deps.times.notBefore(timeMs);
  if (!keepsHistory) await appendLivePages(tail, deps);
}

async function appendLivePages(tail: readonly TailBlock[], deps: TailDeps): Promise<void> {
  for (const block of tail) {
    await appendBlock(block, deps);
    deps.table.dropDead(block.id);
  }
}

/** Every record, as of its time. */
async function appendRecords(tail: readonly TailBlock[], deps: TailDeps): Promise<void> {
  const { map, queue, table, times } = deps;
  for (const block of tail) {
    const bytes = await readTail(block, deps);
    for (const record of eachRecord(bytes)) {
      times.appendAsOf(record.timeMs);
      // Unconditionally, moved pages too: what a record says was so when it was appended, and all that came after it comes after it again.
      for (const { page, at } of record.pages)
        await queue.again(page, bytes.subarray(at * pageBytes, (at + 1) * pageBytes));
      for (const { first, count } of record.ranges) await queue.zero(first, count);
      deps.writer.closeBatch();
    }
  }
  times.appendAsOf(null);
  for (let loads = map.loads(); loads !== null; loads = map.loads()) await loads;
  for (const { id } of tail) table.dropDead(id);
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
