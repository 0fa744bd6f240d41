// AbsenceMachine: for how long each peer has been away. Only time counts in which this peer could read the metadata service: nobody
// is judged by what was not seen (docs/design.md §7).

import type { PeerId } from "#model";

export class AbsenceMachine {
  readonly #absentMs = new Map<PeerId, number>();
  #seenMs: number | null = null;

  /** One look at who lives, among all peers there are. A look that comes later than `gapMsMax` after the last counts as that late. */
  observe(
    nowMs: number,
    gapMsMax: number,
    peers: readonly { readonly peer: PeerId; readonly isAlive: boolean }[],
  ): void {
    const passedMs = this.#seenMs === null ? 0 : Math.min(nowMs - this.#seenMs, gapMsMax);
    this.#seenMs = nowMs;
    let absent = 0;
    for (const { peer, isAlive } of peers) {
      if (isAlive) {
        this.#absentMs.delete(peer);
        continue;
      }
      absent += 1;
      const before = this.#absentMs.get(peer);
      this.#absentMs.set(peer, before === undefined ? 0 : before + passedMs);
    }
    if (absent === this.#absentMs.size) return;
    const known = new Set(peers.map(({ peer }) => peer));
    for (const peer of this.#absentMs.keys()) if (!known.has(peer)) this.#absentMs.delete(peer);
  }

  /** 0 for who is alive, or was until just now. */
  absentMs(peer: PeerId): number {
    return this.#absentMs.get(peer) ?? 0;
  }
}
