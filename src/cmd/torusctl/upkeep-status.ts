// How far a peer is with moving its blocks, in a few words for people.

import type { PeerStatus, UpkeepReport } from "#metadata";
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
