// SettleMachine: when the old part of a union ring may go [C9]: no log is placed by an older ring any more, and every peer has since
// walked over all it holds and found it where the new part wants it.

import type { ClusterSnapshot, VolumeState } from "#metadata";

/** Some log has, or may get, blocks whose place an older ring than the one in force decides. */
export function namesOlderRings(snapshot: ClusterSnapshot): boolean {
  return [...snapshot.volumes.values()].some((state) => isPlacedByOlder(state, snapshot.ringVersion));
}

/** A row counts for the blocks from `replayFrom` on: what comes before is sealed, and lies where the ring says. */
function isPlacedByOlder({ head, logmap, ...state }: VolumeState, ringVersion: number): boolean {
  if (head === null || logmap === null) return false;
  return logmap.rows.some((row, i) => {
    if (row.ringVersion === ringVersion) return false;
    const next = logmap.rows.at(i + 1);
    if (next !== undefined) return next.fromIndex > head.replayFrom;
    return mayHaveTail({ head, logmap, ...state });
  });
}

/** Whether the log may have blocks from its head's `replayFrom` on, or get some. Only who detached in good order leaves none for sure. */
export function mayHaveTail({ head, writer }: VolumeState): boolean {
  if (head === null) return false;
  return writer.owner !== "" || writer.epoch !== head.epoch || head.positionIndex >= head.replayFrom;
}
