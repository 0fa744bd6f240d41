// RecoveryMachine: from the answers of fenced peers, which blocks a log has and who can give their bytes. It does not guess
// [C1, C13]: of every block at least one fenced member must have answered, also of the block where the log ends; silence never
// means absent.
//
// It also tells whether a recovery was *whole*: whether all that was answered, flushed or not, is certain to be there [C2]. A
// write is answered when every member of its block holds it, and nothing of a block before all of the blocks before it. So a member that
// cannot have lost any of a block *vouches* for it: all that was answered lies within what that member holds.

import type { AcknowledgeMode, Boot, ClientsRecord, HeadRecord, LogMapRecord } from "#metadata";
import type { BlockRef, BlockStatus, FenceReport, PeerId, VolumeId } from "#model";
import { blockType, TorusError } from "#model";
import type { Ring } from "#ring";
import { ensemble } from "#ring";

export interface RecoveryInput {
  readonly volume: VolumeId;
  readonly head: HeadRecord;
  readonly logmap: LogMapRecord;
  readonly ringOf: (version: number) => Ring;
  /** Answers of peers that are fenced for the new epoch. */
  readonly reports: ReadonlyMap<PeerId, FenceReport>;
  /** Peers any of which may hold any block, where the logmap is not to be trusted (adopted.ts); else null. */
  readonly everyone: readonly PeerId[] | null;
  /** Of the volume: so many peers hold whatever was answered. */
  readonly minReplicas: number;
}

export interface RecoveryBlock {
  readonly ref: BlockRef;
  readonly members: readonly PeerId[];
  /** Members that answered and hold something, those with most first. */
  readonly holders: readonly { readonly peer: PeerId; readonly status: BlockStatus }[];
  /** What each member that answered has of it. */
  readonly answers: readonly { readonly held: number; readonly damaged: boolean }[];
  /** Every member answered and has it sealed and durable with the same length and checksum; else null. */
  readonly sealed: { readonly length: number; readonly checksum: number } | null;
  /** All that was answered of it lies below this; null when no member that answered can vouch for it. */
  readonly vouched: number | null;
}

export interface RecoveryPlan {
  /** In order, from `head.replayFrom` on. */
  readonly blocks: readonly RecoveryBlock[];
  /** A member vouches that nothing of the block after them was answered. */
  readonly isEndVouched: boolean;
}

/** Where a log ends: a block and an offset in it. */
export interface LogPoint {
  readonly index: number;
  readonly offset: number;
}

/**
 * The blocks of the log from `head.replayFrom` on that some answering member holds. Rejects with `incomplete` (details.waitingFor)
 * when a block, or the end, rests on peers that did not answer.
 */
export function planRecovery(input: RecoveryInput): RecoveryPlan {
  const { volume, head, logmap, ringOf, reports, everyone } = input;
  const silent = everyone?.filter((peer) => !reports.has(peer)) ?? [];
  if (silent.length > 0) throw incomplete("the log of a volume of adopted metadata", silent);
  const byPeer = new Map<PeerId, Map<number, BlockStatus>>();
  for (const [peer, report] of reports)
    byPeer.set(peer, new Map(report.blocks.map((status) => [status.ref.index, status])));
  const blocks: RecoveryBlock[] = [];
  for (let index = head.replayFrom; ; index++) {
    const ref = { type: blockType.data, volume, epoch: head.epoch, index };
    const members = everyone ?? ensemble(index, ref, logmap, ringOf);
    const answered = members.filter((peer) => byPeer.has(peer));
    if (answered.length === 0) throw incomplete(`block ${index} of the log`, members);
    const holders: { peer: PeerId; status: BlockStatus }[] = [];
    const answers: { held: number; damaged: boolean }[] = [];
    for (const peer of answered) {
      const status = byPeer.get(peer)?.get(index);
      answers.push({ held: status?.held ?? 0, damaged: status?.damaged ?? false });
      if (status !== undefined && status.held > 0) holders.push({ peer, status });
    }
    // Of an old head nobody can say what was answered after it.
    const mayVouch = everyone === null ? answered : [];
    const uncut = mayVouch.filter((peer) => (reports.get(peer) as FenceReport).cutEpoch < head.epoch);
    if (holders.length === 0) {
      if (everyone !== null && isFollowed(index, byPeer)) throw gapError(index);
      return { blocks, isEndVouched: uncut.length > 0 };
    }
    // A struck peer may hold what the block was not sealed with; without the strike only a seal tells.
    const seals = everyone === null ? [] : holders.filter(({ status }) => status.state === "sealed");
    if (seals.length > 0) holders.splice(0, holders.length, ...seals);
    holders.sort((a, b) => b.status.held - a.status.held);
    const sealed = sealOf(members, holders);
    blocks.push({ ref, members, holders, answers, sealed, vouched: vouchedBy(uncut, holders) });
  }
}

/** Somebody has a block of the log behind `index`. */
function isFollowed(index: number, byPeer: ReadonlyMap<PeerId, ReadonlyMap<number, BlockStatus>>): boolean {
  return [...byPeer.values()].some((blocks) => [...blocks].some(([at, { held }]) => at > index && held > 0));
}

/**
 * Throws `corrupt` where the logmap is from before an adoption and records are missing between `last`, the last block that could be
 * replayed, and what was found behind it, unless they are certain to have been lost by their writer. Else the copies that had them
 * were given up, as dead, and what is left is one of a struck peer [C7].
 */
export function requireLost(last: RecoveryBlock | undefined, input: RecoveryInput): void {
  const { everyone, logmap, head, minReplicas } = input;
  if (everyone === null) return;
  // Of so many copies one is of a peer that was never struck: nobody gave up his.
  const struckMax = Math.max(...logmap.rows.map(({ replicas }) => replicas)) - minReplicas;
  const isSealed = last?.holders.some(({ status }) => status.state === "sealed");
  if (last === undefined || isSealed || last.holders.length <= struckMax)
    throw gapError(last?.ref.index ?? head.replayFrom);
}

function gapError(index: number): TorusError {
  return new TorusError(
    "corrupt",
    `records of block ${index} of the log are gone, and there are some behind them`,
  );
}

/** The least that any of those who can vouch holds. A sealed copy has all there ever was of its block, whatever became of its peer since. */
function vouchedBy(uncut: readonly PeerId[], holders: RecoveryBlock["holders"]): number | null {
  const lengths = uncut.map((peer) => holders.find((holder) => holder.peer === peer)?.status.held ?? 0);
  for (const { status } of holders) if (status.state === "sealed") lengths.push(status.held);
  return lengths.length === 0 ? null : Math.min(...lengths);
}

/** Somebody vouches for every block and for the end: unless copies fail as they are read, the recovery will be whole. */
export function isVouched({ blocks, isEndVouched }: RecoveryPlan): boolean {
  return isEndVouched && blocks.every(({ vouched }) => vouched !== null);
}

/**
 * Whether all that was answered was replayed. `lengths`: how much of each block of the plan, up to the one where replay stopped.
 * `isGap`: it stopped because the next block begins after records that nobody who answered has: had those been answered, so
 * nothing after them was.
 */
export function isWhole(plan: RecoveryPlan, lengths: readonly number[], isGap: boolean): boolean {
  for (const [i, { vouched }] of plan.blocks.entries()) {
    if (i >= lengths.length && isGap) return true;
    if (vouched === null || (lengths.at(i) ?? 0) < vouched) return false;
  }
  return plan.isEndVouched;
}

export interface SessionsInput {
  readonly acknowledge: AcknowledgeMode;
  /** Those who were served before, and may rest on answers that are not durable; null when there are none. */
  readonly before: ClientsRecord | null;
  /** Where this recovery runs. */
  readonly here: Boot | null;
  readonly isLogWhole: boolean;
}

/**
 * Whether those who were served before may go on, and be told OK by a flush: nothing of what was answered to them is lost, or
 * none of them can be left. With `writeback` only a log that was finished keeps what it answered: then there is no record of them.
 */
export function mayGoOn({ acknowledge, before, here, isLogWhole }: SessionsInput): boolean {
  if (before === null || isOver(before.boot, here)) return true;
  return acknowledge === "replicated" && isLogWhole;
}

/** The machine was started anew since: no program of that boot is left. What is not known for certain is taken for running. */
function isOver(boot: Boot | null, here: Boot | null): boolean {
  return boot !== null && here !== null && boot.machine === here.machine && boot.id !== here.id;
}

/**
 * Whether the log may end at byte `length` of `block` although some copy has rotten bytes behind it: a member says that it never had
 * more, so no flush covered more. One with a damaged end does not say that, unless there is nobody left to ask [C13].
 */
export function mayEnd({ members, answers }: RecoveryBlock, length: number): boolean {
  const isLast = answers.length === members.length;
  return answers.some(({ held, damaged }) => held <= length && (isLast || !damaged));
}

function sealOf(
  members: readonly PeerId[],
  holders: RecoveryBlock["holders"],
): { length: number; checksum: number } | null {
  const first = holders[0].status;
  if (holders.length !== members.length) return null;
  const same = holders.every(
    ({ status }) =>
      status.state === "sealed" &&
      status.held === first.held &&
      status.durable === first.held &&
      status.checksum === first.checksum,
  );
  return same ? { length: first.held, checksum: first.checksum } : null;
}

/** The highest position any answer, or any header seen, names as durable on every member. */
export function durableFloor(reports: Iterable<FenceReport>, seen: LogPoint): LogPoint {
  let floor = seen;
  for (const report of reports) {
    const point = { index: report.durableIndex, offset: report.durableOffset };
    if (isBefore(floor, point)) floor = point;
  }
  return floor;
}

export function isBefore(a: LogPoint, b: LogPoint): boolean {
  return a.index < b.index || (a.index === b.index && a.offset < b.offset);
}

/**
 * The recovered end must not lie below what is known to have been durable: rot is not a torn tail. `waitingFor`: members that have
 * not answered and may have the rest.
 */
export function requireEnd(end: LogPoint, floor: LogPoint, waitingFor: readonly PeerId[]): void {
  if (!isBefore(end, floor)) return;
  const what = `the log can be read up to block ${end.index} offset ${end.offset}, but reached block ${floor.index} offset ${floor.offset}`;
  if (waitingFor.length > 0) throw incomplete(what, waitingFor);
  throw new TorusError(
    "corrupt",
    `${what}, and every peer that may have the rest has answered: nothing is served`,
  );
}

function incomplete(what: string, waitingFor: readonly PeerId[]): TorusError {
  return new TorusError("incomplete", `${what} rests on peers that do not answer: ${waitingFor.join(", ")}`, {
    waitingFor,
  });
}
