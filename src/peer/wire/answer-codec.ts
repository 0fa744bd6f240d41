// Answers: what the server returns for a request that succeeded, as bytes. Errors are in error-codec.ts.
//
//   append  u32 held, u32 durable                   list   u32 next is given, u32 count, next ref, statuses
//   sync    one {u32 held, u32 durable} a ref       fence  u64 epoch, u64 durable index, u32 durable offset, u32 count, u64 cut epoch, statuses
//   read    nothing; bulk: the bytes                usage  u64 size, u64 used, u64 blocks,
//                                                     u64 available
//   stat    one status a ref                        seal, put, ping: nothing
//   confirm u64 ring version, {u32 verdict (0 lacking, 1 confirmed, 2 later), u32 length, u32 checksum} a ref
//   testify see testimony-codec.ts                  locate see location-codec.ts
//
//   status  ref, u8 state (0 absent, 1 open, 2 sealed), u8 flags (1 cut, 2 damaged), u16 zero, u32 held, u32 durable, u32 checksum

import type {
  BlockLocation,
  BlockRef,
  BlockState,
  BlockStatus,
  Confirmation,
  ConfirmReport,
  FenceReport,
  ListPage,
  Progress,
  StoreUsage,
  Testimony,
  Verdict,
} from "#model";
import {
  assert,
  blockRefEquals,
  blockRefKey,
  blockType,
  decodeBlockRef,
  encodeBlockRef,
  fenceReportBlocksMax,
  TorusError,
} from "#model";
import type { FrameScratch, Operation } from "./frame-codec.ts";
import {
  confirmationBytes,
  confirmRefsMax,
  frameHeaderBytes,
  listBlocksMax,
  operations,
  progressBytes,
  refsMax,
  statusBytes,
} from "./frame-codec.ts";
import { encodeLocation, readLocation } from "./location-codec.ts";
import type { FenceRequest, Request } from "./request-codec.ts";
import { encodeTestimony, readTestimony } from "./testimony-codec.ts";
import { readUint64, writeUint64 } from "./uint64.ts";

/** What each operation resolves to. */
export type Answer =
  | Progress
  | Progress[]
  | Uint8Array
  | BlockStatus[]
  | ListPage
  | FenceReport
  | StoreUsage
  | ConfirmReport
  | Testimony
  | BlockLocation
  | undefined;

const verdicts: readonly Verdict[] = ["lacking", "confirmed", "later"];
const states: readonly BlockState[] = ["absent", "open", "sealed"];
const cutFlag = 1;
const damagedFlag = 2;
const listHeadBytes = 32;
const fenceHeadBytes = 32;
const usageBytes = 32;
const confirmHeadBytes = 8;

/**
 * Encodes the arguments of the answer to a request of `operation` into `scratch`; returns their length. The bytes of a
 * read are bulk and not touched. Throws `limit` for a fence report that no frame can carry.
 */
export function encodeAnswer(scratch: FrameScratch, operation: Operation, answer: Answer): number {
  switch (operation) {
    case operations.append:
      return encodeProgress(scratch, answer as Progress);
    case operations.sync:
      return encodeProgresses(scratch, answer as Progress[]);
    case operations.stat:
      return encodeStatuses(scratch, answer as BlockStatus[]);
    case operations.list:
      return encodeListPage(scratch, answer as ListPage);
    case operations.fence:
      return encodeFenceReport(scratch, answer as FenceReport);
    case operations.usage:
      return encodeUsage(scratch, answer as StoreUsage);
    case operations.confirm:
      return encodeConfirmReport(scratch, answer as ConfirmReport);
    case operations.testify:
      return encodeTestimony(scratch, answer as Testimony);
    case operations.locate:
      return encodeLocation(scratch, answer as BlockLocation);
    case operations.read:
    case operations.seal:
    case operations.put:
    case operations.ping:
      return 0;
  }
}

function encodeProgress(scratch: FrameScratch, progress: Progress): number {
  scratch.view.setUint32(frameHeaderBytes, progress.held, true);
  scratch.view.setUint32(frameHeaderBytes + 4, progress.durable, true);
  return progressBytes;
}

function encodeProgresses(scratch: FrameScratch, progresses: readonly Progress[]): number {
  assert(progresses.length <= refsMax, "a sync answers for at most refsMax blocks");
  scratch.reserve(progresses.length * progressBytes);
  let at = frameHeaderBytes;
  for (const progress of progresses) {
    scratch.view.setUint32(at, progress.held, true);
    scratch.view.setUint32(at + 4, progress.durable, true);
    at += progressBytes;
  }
  return at - frameHeaderBytes;
}

function encodeStatuses(scratch: FrameScratch, statuses: readonly BlockStatus[]): number {
  assert(statuses.length <= refsMax, "a stat answers for at most refsMax blocks");
  scratch.reserve(statuses.length * statusBytes);
  writeStatuses(scratch.view, frameHeaderBytes, statuses);
  return statuses.length * statusBytes;
}

function encodeListPage(scratch: FrameScratch, page: ListPage): number {
  assert(page.blocks.length <= listBlocksMax, "a page lists at most listBlocksMax blocks");
  const argumentBytes = listHeadBytes + page.blocks.length * statusBytes;
  scratch.reserve(argumentBytes);
  const { view, bytes } = scratch;
  const at = frameHeaderBytes;
  bytes.fill(0, at, at + listHeadBytes);
  view.setUint32(at + 4, page.blocks.length, true);
  if (page.next !== null) {
    view.setUint32(at, 1, true);
    encodeBlockRef(page.next, view, at + 8);
  }
  writeStatuses(view, at + listHeadBytes, page.blocks);
  return argumentBytes;
}

function encodeFenceReport(scratch: FrameScratch, report: FenceReport): number {
  if (report.blocks.length > fenceReportBlocksMax) {
    throw new TorusError(
      "limit",
      `a fence found ${report.blocks.length} blocks, at most ${fenceReportBlocksMax} can be reported`,
    );
  }
  const argumentBytes = fenceHeadBytes + report.blocks.length * statusBytes;
  scratch.reserve(argumentBytes);
  const { view } = scratch;
  const at = frameHeaderBytes;
  writeUint64(view, at, report.epoch);
  writeUint64(view, at + 8, report.durableIndex);
  view.setUint32(at + 16, report.durableOffset, true);
  view.setUint32(at + 20, report.blocks.length, true);
  writeUint64(view, at + 24, report.cutEpoch);
  writeStatuses(view, at + fenceHeadBytes, report.blocks);
  return argumentBytes;
}

function encodeUsage(scratch: FrameScratch, usage: StoreUsage): number {
  writeUint64(scratch.view, frameHeaderBytes, usage.sizeBytes);
  writeUint64(scratch.view, frameHeaderBytes + 8, usage.usedBytes);
  writeUint64(scratch.view, frameHeaderBytes + 16, usage.blocks);
  writeUint64(scratch.view, frameHeaderBytes + 24, usage.availableBytes);
  return usageBytes;
}

function encodeConfirmReport(scratch: FrameScratch, { ringVersion, blocks }: ConfirmReport): number {
  assert(blocks.length <= confirmRefsMax, "at most confirmRefsMax blocks are confirmed at once");
  const argumentBytes = confirmHeadBytes + blocks.length * confirmationBytes;
  scratch.reserve(argumentBytes);
  const { view } = scratch;
  writeUint64(view, frameHeaderBytes, ringVersion);
  let at = frameHeaderBytes + confirmHeadBytes;
  for (const { verdict, length, checksum } of blocks) {
    view.setUint32(at, verdicts.indexOf(verdict), true);
    view.setUint32(at + 4, length, true);
    view.setUint32(at + 8, checksum, true);
    at += confirmationBytes;
  }
  return argumentBytes;
}

function writeStatuses(view: DataView, start: number, statuses: readonly BlockStatus[]): void {
  let at = start;
  for (const status of statuses) {
    encodeBlockRef(status.ref, view, at);
    const flags = (status.cut ? cutFlag : 0) | (status.damaged ? damagedFlag : 0);
    view.setUint32(at + 24, states.indexOf(status.state) | (flags << 8), true);
    view.setUint32(at + 28, status.held, true);
    view.setUint32(at + 32, status.durable, true);
    view.setUint32(at + 36, status.checksum, true);
    at += statusBytes;
  }
}

/**
 * The answer to `request` whose arguments lie at `at` of `view`. Throws `protocol` when it is not an answer to that
 * request: other lengths, other counts.
 */
export function decodeAnswer(
  request: Request,
  view: DataView,
  at: number,
  argumentBytes: number,
  bulk: Uint8Array,
): Answer {
  switch (request.operation) {
    case operations.append:
      requireBytes(argumentBytes, progressBytes);
      return readProgress(view, at);
    case operations.sync:
      requireBytes(argumentBytes, request.refs.length * progressBytes);
      return request.refs.map((_, i) => readProgress(view, at + i * progressBytes));
    case operations.read:
      requireBytes(argumentBytes, 0);
      requireBytes(bulk.length, request.length);
      return bulk;
    case operations.stat:
      requireBytes(argumentBytes, request.refs.length * statusBytes);
      return readStatuses(view, at, request.refs.length).map((status, i) =>
        requireRef(status, request.refs[i]),
      );
    case operations.list:
      return readListPage(view, at, argumentBytes, request.limit);
    case operations.fence:
      return requireReport(readFenceReport(view, at, argumentBytes), request);
    case operations.usage:
      requireBytes(argumentBytes, usageBytes);
      return {
        sizeBytes: readUint64(view, at),
        usedBytes: readUint64(view, at + 8),
        blocks: readUint64(view, at + 16),
        availableBytes: readUint64(view, at + 24),
      };
    case operations.confirm:
      requireBytes(argumentBytes, confirmHeadBytes + request.refs.length * confirmationBytes);
      return readConfirmReport(view, at, request.refs.length);
    case operations.testify:
      return readTestimony(request, view, at, argumentBytes);
    case operations.locate:
      return readLocation(view, at, argumentBytes);
    case operations.seal:
    case operations.put:
    case operations.ping:
      requireBytes(argumentBytes, 0);
      return undefined;
  }
}

function readProgress(view: DataView, at: number): Progress {
  const held = view.getUint32(at, true);
  const durable = view.getUint32(at + 4, true);
  if (durable > held)
    throw new TorusError("protocol", `an answer has ${durable} bytes durable of ${held} held`);
  return { held, durable };
}

function readStatuses(view: DataView, start: number, count: number): BlockStatus[] {
  const statuses: BlockStatus[] = [];
  for (let at = start; at < start + count * statusBytes; at += statusBytes) {
    const state = states[view.getUint8(at + 24)];
    const flags = view.getUint8(at + 25);
    if (state === undefined || flags > (cutFlag | damagedFlag)) {
      throw new TorusError("protocol", "an answer has a block in a state that does not exist");
    }
    const { held, durable } = readProgress(view, at + 28);
    statuses.push({
      ref: decodeBlockRef(view, at),
      state,
      held,
      durable,
      checksum: view.getUint32(at + 36, true),
      cut: (flags & cutFlag) !== 0,
      damaged: (flags & damagedFlag) !== 0,
    });
  }
  return statuses;
}

function readListPage(view: DataView, at: number, argumentBytes: number, limit: number): ListPage {
  const count = argumentBytes < listHeadBytes ? 0 : view.getUint32(at + 4, true);
  requireBytes(argumentBytes, listHeadBytes + count * statusBytes);
  if (count > limit)
    throw new TorusError("protocol", `an answer lists ${count} blocks where ${limit} were asked for`);
  const next = view.getUint32(at, true) === 0 ? null : decodeBlockRef(view, at + 8);
  return { blocks: readStatuses(view, at + listHeadBytes, count), next };
}

function readFenceReport(view: DataView, at: number, argumentBytes: number): FenceReport {
  const count = argumentBytes < fenceHeadBytes ? 0 : view.getUint32(at + 20, true);
  requireBytes(argumentBytes, fenceHeadBytes + count * statusBytes);
  return {
    epoch: readUint64(view, at),
    durableIndex: readUint64(view, at + 8),
    durableOffset: view.getUint32(at + 16, true),
    cutEpoch: readUint64(view, at + 24),
    blocks: readStatuses(view, at + fenceHeadBytes, count),
  };
}

function readConfirmReport(view: DataView, start: number, count: number): ConfirmReport {
  const blocks: Confirmation[] = [];
  for (let i = 0, at = start + confirmHeadBytes; i < count; i++, at += confirmationBytes) {
    const verdict = verdicts[view.getUint32(at, true)];
    if (verdict === undefined)
      throw new TorusError("protocol", "an answer has a verdict that does not exist");
    blocks.push({ verdict, length: view.getUint32(at + 4, true), checksum: view.getUint32(at + 8, true) });
  }
  return { ringVersion: readUint64(view, start), blocks };
}

function requireRef(status: BlockStatus, ref: BlockRef): BlockStatus {
  if (!blockRefEquals(status.ref, ref)) {
    throw new TorusError(
      "protocol",
      `an answer is about block ${blockRefKey(status.ref)}, asked was ${blockRefKey(ref)}`,
    );
  }
  return status;
}

/** Recovery decides over data by this report: it must be of the log that was asked for. */
function requireReport(report: FenceReport, request: FenceRequest): FenceReport {
  const { volume, epoch, logEpoch, fromIndex } = request;
  const ours = ({ ref }: BlockStatus): boolean =>
    ref.type === blockType.data && ref.volume === volume && ref.epoch === logEpoch && ref.index >= fromIndex;
  if (report.epoch < epoch || !report.blocks.every(ours)) {
    throw new TorusError(
      "protocol",
      `a fence of volume ${volume} was answered with another epoch or other blocks`,
    );
  }
  return report;
}

function requireBytes(actual: number, expected: number): void {
  if (actual !== expected) {
    throw new TorusError("protocol", `an answer has ${actual} bytes where ${expected} were expected`);
  }
}
