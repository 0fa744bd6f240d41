// ReturnMachine: whether a peer has come back since the last look: it was away, or was started again meanwhile. It may lack what was written while
// it was gone, and nobody should wait for the next ordinary walk to see that.

import type { PeerId } from "#model";

export class ReturnMachine {
  /** Of every peer that was ever seen alive, as last seen. */
  readonly #incarnations = new Map<PeerId, number>();
  readonly #away = new Set<PeerId>();

  /** One look at all peers; `incarnation` is null of those that do not live. True when one that was known before is back. */
  observe(peers: readonly { readonly peer: PeerId; readonly incarnation: number | null }[]): boolean {
    let isBack = false;
    let remembered = 0;
    for (const { peer, incarnation } of peers) {
      const before = this.#incarnations.get(peer);
      if (before !== undefined || incarnation !== null) remembered += 1;
      if (incarnation === null) {
        if (before !== undefined) this.#away.add(peer);
        continue;
      }
      if (this.#away.delete(peer) || (before !== undefined && before !== incarnation)) isBack = true;
      this.#incarnations.set(peer, incarnation);
    }
    if (remembered < this.#incarnations.size) this.#forgetOthers(new Set(peers.map(({ peer }) => peer)));
    return isBack;
  }

  #forgetOthers(known: ReadonlySet<PeerId>): void {
    for (const peer of this.#incarnations.keys()) {
      if (known.has(peer)) continue;
      this.#incarnations.delete(peer);
      this.#away.delete(peer);
    }
  }
}
