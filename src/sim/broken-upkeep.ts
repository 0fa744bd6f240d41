// Broken upkeep, for canaries: what peers do by themselves, with one rule taken out of it.

import type { BlockRef, BlockStatus, BlockStore, Confirmer, ConfirmReport, PeerStore } from "#model";
import type { OwnStore } from "#upkeep";
import { PassingStore } from "./passing-store.ts";

/** Confirms whatever it holds sealed, by whichever ring. */
export class VersionlessConfirmer implements Confirmer {
  readonly #store: BlockStore;

  constructor(store: BlockStore) {
    this.#store = store;
  }

  async confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    const statuses = await this.#store.stat(refs);
    const blocks = statuses.map(({ state, held, checksum }) =>
      state === "sealed"
        ? ({ verdict: "confirmed", length: held, checksum } as const)
        : ({ verdict: "lacking", length: 0, checksum: 0 } as const),
    );
    return { ringVersion, blocks };
  }
}

/** Takes any copy another peer has for as good as its own: open, cut, whatever. */
export class AnyCopyCounts extends PassingStore implements PeerStore {
  readonly #link: PeerStore;
  readonly #own: OwnStore;

  constructor(link: PeerStore, own: OwnStore) {
    super(link);
    this.#link = link;
    this.#own = own;
  }

  override async stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    const theirs = await super.stat(refs);
    const own = await this.#own.stat(refs);
    return theirs.map((status, i) => (status.state === "open" ? own[i] : status));
  }

  async confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    const report = await this.#link.confirm(ringVersion, refs);
    const theirs = await super.stat(refs);
    const own = await this.#own.stat(refs);
    const blocks = report.blocks.map((confirmation, i) =>
      theirs[i].state === "open"
        ? { verdict: "confirmed" as const, length: own[i].held, checksum: own[i].checksum }
        : confirmation,
    );
    return { ...report, blocks };
  }
}
