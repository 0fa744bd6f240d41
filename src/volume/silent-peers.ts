// SilentPeers: which peers have not taken blocks of INodes for so long that these go to others. An INode is not in the logmap: whoever
// reads it looks at every peer of the rings, so it may be on any of them, and a dead peer that no open block of the log is on holds
// up no checkpoint. Knows no time but what it is told.

import type { PeerId } from "#model";

interface Silence {
  readonly sinceMs: number;
  lastMs: number;
}

/** As long as a writer waits for a member of an open block. */
const patienceMs = 1500;
const againAfterMs = 5000;

export class SilentPeers {
  readonly #silent = new Map<PeerId, Silence>();

  failed(peer: PeerId, nowMs: number): void {
    const known = this.#silent.get(peer);
    if (known === undefined) this.#silent.set(peer, { sinceMs: nowMs, lastMs: nowMs });
    else known.lastMs = nowMs;
  }

  took(peer: PeerId): void {
    this.#silent.delete(peer);
  }

  /** Those not to be waited for now; each is asked again after a while. */
  at(nowMs: number): PeerId[] {
    const left: PeerId[] = [];
    for (const [peer, { sinceMs, lastMs }] of this.#silent)
      if (lastMs - sinceMs >= patienceMs && nowMs - lastMs < againAfterMs) left.push(peer);
    return left;
  }
}
