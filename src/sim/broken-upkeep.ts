// Broken upkeep, for canaries: what peers do by themselves, with one rule taken out of it.

import type { ClusterMetadata, ClusterSnapshot, PeerListing, VolumeState } from "#metadata";
import type { BlockRef, BlockStatus, BlockStore, Confirmer, ConfirmReport, PeerStore } from "#model";
import { TorusError } from "#model";
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

/** No INode can be read: a collector finds nothing dead by it. */
export const nothingReadable = {
  walk: (): Promise<never> => Promise.reject(new TorusError("unavailable", "no INode is read in this run")),
};

/** Whoever reads the peers' reports is told that all have walked over all they hold, by the ring in force. */
export function everyoneHasWalked(metadata: ClusterMetadata): ClusterMetadata {
  const list = async (): Promise<PeerListing> => {
    const listing = await metadata.peers.list();
    const peers = listing.peers.map((status) => {
      const { alive } = status;
      if (alive?.upkeep == null) return status;
      const upkeep = { ...alive.upkeep, ringVersion: listing.ring.version, walks: 2 };
      return { ...status, alive: { ...alive, upkeep } };
    });
    return { ...listing, peers };
  };
  const peers = new Proxy(metadata.peers, {
    get: (target, name) => {
      if (name === "list") return list;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return new Proxy(metadata, {
    get: (target, name) => {
      if (name === "peers") return peers;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Whoever reads all metadata does not see snapshots. */
export function snapshotsForgotten(metadata: ClusterMetadata): ClusterMetadata {
  return withStates(metadata, (state) => ({ ...state, snapshots: [] }));
}

/** Nor that a volume keeps its history. */
export function historyForgotten(metadata: ClusterMetadata): ClusterMetadata {
  return withStates(metadata, (state) => ({ ...state, history: null }));
}

function withStates(metadata: ClusterMetadata, change: (state: VolumeState) => VolumeState): ClusterMetadata {
  const snapshot = async (): Promise<ClusterSnapshot> => {
    const found = await metadata.snapshot();
    return { ...found, volumes: new Map([...found.volumes].map(([id, state]) => [id, change(state)])) };
  };
  return new Proxy(metadata, {
    get: (target, name) => {
      if (name === "snapshot") return snapshot;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
