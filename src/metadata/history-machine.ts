// Which instants of a volume's log it can be put back to: *points*, each a checkpoint that was the head once and is kept, with the whole log from
// the oldest of them on. What the volume was at a time is the newest point of that time or before, and the log replayed from there.
//
// Invariants: a point is added only in the transaction that makes it the head, so that all it needs was needed until then; nobody adds an older
// one later. So blocks that are needed from the oldest point on were needed without a break since [C6]. Points are in the order of the log, and of
// time. The list is bounded: where the log is long, points that are near each other go first; where none may go, the oldest does.
//
// Pure: what a head makes of the history.

import { TorusError } from "#model";
import type { HeadRecord, HistoryPoint, HistoryRecord } from "./records.ts";

const keepMsMin = 1000;
const keepMsMax = 366 * 24 * 3600 * 1000;
export const historyPointsMax = 96;
/** A point is due when so much of the time that is kept has passed since the last one, or so much log was written. */
const pointsPerKeep = 48;
const pointLogBytes = 2 ** 30;

/** What a head's record does not say of itself. */
export interface HistoryMark {
  /** Of the volume, as of this head. */
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /** The first head of an epoch: the log before ends before this block, and what was behind it begins the log of this epoch. */
  readonly endOfBefore: number;
  /** The head is not what replaying the log from a point before gives for certain. */
  readonly isBreak: boolean;
}

/** The history once `head` is in force; the same object when nothing changes. */
export function historyAfter(
  history: HistoryRecord,
  head: HeadRecord,
  mark: HistoryMark,
  nowMs: number,
): HistoryRecord {
  const point = pointOf(history, head, mark, nowMs);
  const points = point === null ? [...history.points] : [...history.points, point];
  // The second must be old enough: it stands for all from its time on.
  while (points.length > 1 && points[1].timeMs <= nowMs - history.keepMs) points.shift();
  while (points.length > historyPointsMax) dropOne(points);
  const isSame = point === null && points.length === history.points.length;
  return isSame ? history : { ...history, points };
}

/** There is a point that `historyAfter` would let go of. */
export function isExpired({ keepMs, points }: HistoryRecord, nowMs: number): boolean {
  return points.length > 1 && points[1].timeMs <= nowMs - keepMs;
}

/** The newest point of `timeMs` or before: what to replay from. */
export function pointAt({ points }: HistoryRecord, timeMs: number): HistoryPoint | null {
  return points.findLast((point) => point.timeMs <= timeMs) ?? null;
}

/** Space of the blocks that only the history needs, as of `head`, one copy; blocks of snapshots counted. */
export function historyBytes({ points }: HistoryRecord, head: HeadRecord | null, blockBytes: number): number {
  const first = points.at(0);
  const last = points.at(-1);
  if (first === undefined || last === undefined || head === null) return 0;
  const blocks = blocksAt(last, head) - first.blocks;
  return Math.max(0, first.logBytes + blocks * blockBytes - head.logBytes);
}

/** `head` as a point, if one is due. */
function pointOf(
  { keepMs, points }: HistoryRecord,
  head: HeadRecord,
  mark: HistoryMark,
  nowMs: number,
): HistoryPoint | null {
  const { epoch, root, ringVersion, replayFrom, sequence, previous, positionIndex, positionOffset } = head;
  if (root === null) return null;
  const last = points.at(-1);
  const isStart = last !== undefined && last.epoch !== epoch;
  const { usedBytes, logBytes, timeMs } = head;
  const { sizeBytes, endOfBefore, blockBytes } = mark;
  const blocks = last === undefined ? 0 : blocksAt(last, head);
  const isForced = isStart || mark.isBreak || last?.sizeBytes !== sizeBytes;
  const isDue =
    last === undefined ||
    timeMs - last.timeMs >= keepMs / pointsPerKeep ||
    (blocks - last.blocks) * blockBytes >= pointLogBytes;
  if (!isForced && !isDue) return null;
  const of = { epoch, root, ringVersion, replayFrom, sequence, previous, positionIndex, positionOffset };
  const previousEnd = isStart ? endOfBefore : null;
  // What the volume was before its history began nobody says, also where no record was written since.
  const sinceMs = last === undefined ? Math.max(timeMs, nowMs) : timeMs;
  return { timeMs: sinceMs, ...of, sizeBytes, usedBytes, logBytes, blocks, previousEnd, isForced };
}

/** Blocks of the log since the history began, up to `head`. */
function blocksAt(last: HistoryPoint, head: HeadRecord): number {
  const more = head.epoch === last.epoch ? head.positionIndex - last.positionIndex : head.positionIndex;
  return last.blocks + Math.max(0, more);
}

/** The point without which the longest replay is the least longer; never one that must stay, but for the oldest. */
function dropOne(points: HistoryPoint[]): void {
  let found = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 1; i < points.length - 1; i++) {
    const blocks = points[i + 1].blocks - points[i - 1].blocks;
    if (points[i].isForced || blocks >= least) continue;
    found = i;
    least = blocks;
  }
  points.splice(found, 1);
}

/** Throws `invalid-argument` for how far no history can reach. */
export function requireKeepMs(keepMs: number): void {
  if (Number.isInteger(keepMs) && keepMs >= keepMsMin && keepMs <= keepMsMax) return;
  throw new TorusError("invalid-argument", "a history reaches back from 1 second to 366 days");
}
