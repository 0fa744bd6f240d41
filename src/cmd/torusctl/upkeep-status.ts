// How far a peer is with moving its blocks, in a few words for people.

import type { PeerListing, PeerStatus, UpkeepReport } from "#metadata";
import { formatBytes } from "#model";
import type { RingDescription } from "#ring";

/** The REB/REP column of the list of peers. */
export function upkeepCell(report: UpkeepReport | null): string {
  if (report === null) return "-";
  const { state, walkedPercent, misplacedBlocks, remainingMs } = report;
  switch (state) {
    case "idle":
      return "ok";
    case "moving":
      return `${walkedPercent}%${remainingMs === null ? "" : ` ~${durationText(remainingMs)}`}`;
    case "waiting":
      return misplacedBlocks === 0 ? "waits for writers" : `waits, ${misplacedBlocks} blocks`;
    default:
      return state;
  }
}

export function durationText(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 120) return `${seconds}s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)}m` : `${Math.round(seconds / 3600)}h`;
}

/** Why a peer that is to leave must still be kept running; null when nobody needs what it has. */
export function neededBecause(status: PeerStatus, ring: RingDescription): string | null {
  const { alive, peer } = status;
  if ((ring.parts?.new ?? ring).members.some((member) => member.peer === peer))
    return "the ring places new blocks on it";
  if (alive === null) return "it is DOWN, so nobody knows what only it has";
  const report = alive.upkeep;
  if (report === null) return "it does not move its blocks: upgrade its torusd";
  if (report.state === "paused") return "moving is paused: torusctl peer rebalance resume";
  if (report.ringVersion !== ring.version) {
    if (report.state === "idle") return "it has not begun to move its blocks";
    if (report.state !== "waiting") return `its blocks are being moved: ${upkeepCell(report)}`;
    return report.misplacedBlocks > 0
      ? `${report.misplacedBlocks} of its blocks wait for other peers`
      : "logs of volumes are still placed by an older ring";
  }
  if (report.keptBlocks > 0)
    return `logs of volumes have ${report.keptBlocks} blocks here, until their next checkpoint`;
  if (ring.members.some((member) => member.peer === peer))
    return "other peers have not yet found all their blocks in place";
  return null;
}

/** Of all peers that are alive together. */
export interface MovingTotals {
  /** In force. */
  readonly ring: number;
  /** Every peer has found every block where the ring wants it, and no old ring is kept. */
  readonly balanced: boolean;
  readonly paused: boolean;
  readonly peers: number;
  /** Those that are done with this ring. */
  readonly done: number;
  readonly percent: number;
  /** Blocks that wait for a peer that is away or full, as far as peers have looked. */
  readonly waitingBlocks: number;
  readonly down: number;
  /** Until the last peer has walked over its blocks; null when that cannot be said. */
  readonly remainingMs: number | null;
  /** Sent by the peers since each was started. */
  readonly movedBytes: number;
}

export function movingTotals({ ring, peers }: PeerListing, paused: boolean): MovingTotals {
  const concerned = new Set(ring.members.map(({ peer }) => peer));
  const reports: { readonly report: UpkeepReport; readonly blocks: number }[] = [];
  let down = 0;
  for (const { peer, alive } of peers) {
    if (!concerned.has(peer)) continue;
    if (alive === null) down += 1;
    else if (alive.upkeep !== null) reports.push({ report: alive.upkeep, blocks: alive.blocks });
  }
  const isDone = ({ state, ringVersion }: UpkeepReport): boolean =>
    state === "idle" && ringVersion === ring.version;
  const left = reports.filter(({ report }) => !isDone(report)).map(({ report }) => report);
  const moving = left.filter(({ state }) => state === "moving" || state === "starting");
  const blocks = reports.reduce((sum, each) => sum + each.blocks, 0);
  const walked = reports.reduce(
    (sum, { report, blocks: own }) => sum + own * shareOf(report, isDone(report)),
    0,
  );
  const remaining = moving.map(({ remainingMs }) => remainingMs);
  return {
    ring: ring.version,
    balanced: left.length === 0 && ring.type !== "union",
    paused,
    peers: reports.length,
    done: reports.length - left.length,
    percent: blocks === 0 ? 100 : Math.floor((100 * walked) / blocks),
    waitingBlocks: left.reduce(
      (sum, { state, misplacedBlocks }) => sum + (state === "waiting" ? misplacedBlocks : 0),
      0,
    ),
    down,
    remainingMs:
      moving.length === 0 || remaining.includes(null) ? null : Math.max(...remaining.map((ms) => ms ?? 0)),
    movedBytes: reports.reduce((sum, { report }) => sum + report.movedBytes, 0),
  };
}

function shareOf({ state, walkedPercent }: UpkeepReport, isDone: boolean): number {
  if (isDone) return 1;
  return state === "idle" ? 0 : walkedPercent / 100;
}

/** "ring 6: 2 of 4 peers done, 41%, 120 MiB moved, about 4m left". `movedBytes`: since somebody began to look. */
export function movingText(totals: MovingTotals, movedBytes: number | null): string {
  const { ring, balanced, paused, peers, done, percent, waitingBlocks, down, remainingMs } = totals;
  const moved = movedBytes === null ? "" : `, ${formatBytes(movedBytes)} moved`;
  if (balanced) return `every block is where ring ${ring} wants it${movedBytes === 0 ? "" : moved}`;
  const parts = [`ring ${ring}: ${done} of ${peers} peers done, ${percent}%${moved}`];
  if (paused) parts.push("paused until torusctl peer rebalance resume");
  else if (remainingMs !== null) parts.push(`about ${durationText(remainingMs)} left`);
  if (waitingBlocks > 0) parts.push(`${waitingBlocks} blocks wait for peers that are away or full`);
  else if (done === peers) parts.push("the old ring is let go in a moment");
  else if (percent === 100) parts.push("waits for peers to look again, and for volumes' next checkpoints");
  if (down > 0) parts.push(`${down} DOWN`);
  return parts.join(", ");
}
