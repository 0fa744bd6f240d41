// SpaceChecker: sees every block that peers' collectors remove, and walks the INodes of the metadata as it is then: nothing that any of
// them needs may go. In the end it looks for what should be gone and is not: blocks of logs that are over, or of deleted
// volumes, that no INode needs.
//
// What is dead stays dead, so it does no harm to look a moment after the removal; while INodes cannot be read, because peers
// are down, it looks again later. A node of an INode that a collector removed needs no reading to be missed.

import type { ClusterSnapshot, NodePointer } from "#metadata";
import type { BlockRef, BlockStatus, PeerId } from "#model";
import { blockRefKey, crc32, isTorusError, TorusError } from "#model";
import type { OwnStore } from "#upkeep";
import { historyStanding, rootsOf, standingOf } from "#upkeep";
import { NeededBlocks } from "#volume";
import type { SimCluster } from "./cluster.ts";
import { PassingStore } from "./passing-store.ts";

interface Removal {
  readonly peer: PeerId;
  readonly ref: BlockRef;
  readonly atMs: number;
}

const lookAfterMs = 100;
const pageBlocks = 1000;

export class SpaceChecker {
  readonly #cluster: SimCluster;
  readonly #needed = new NeededBlocks({ cacheBytesMax: 2 ** 26 });
  /** Those to be judged. */
  #removals: Removal[] = [];
  /** All of them, by block: the last. */
  readonly #removed = new Map<string, Removal>();
  #isWaiting = false;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  /** A collector removed a block, in this turn. */
  removed(peer: PeerId, ref: BlockRef): void {
    const removal = { peer, ref, atMs: this.#cluster.world.clock.monotonicMs() };
    this.#removals.push(removal);
    this.#removed.set(blockRefKey(ref), removal);
    this.#lookSoon();
  }

  /** The metadata went back: what it needs now was dead before, and may be gone. */
  wentBack(): void {
    this.#removals = [];
    this.#removed.clear();
  }

  /** A collector said that it has blocks of a volume the metadata does not know. */
  alarmed(peer: string, volume: unknown): void {
    this.#cluster.world.violate(
      "no false alarm",
      `${peer} says that it has blocks of volume ${String(volume)}, and the metadata never went back`,
    );
  }

  /** What is dead and still here, in words; null when nothing is. */
  async leak(): Promise<string | null> {
    const { admin, peers } = this.#cluster;
    const snapshot = await admin.snapshot();
    const needed = await this.#neededNow();
    for (const { store, name } of peers) {
      for (const { ref } of store === null ? [] : await blocksOf(store)) {
        const standing = standingOf(ref, snapshot);
        if (standing !== "placed" && standing !== "deleted") continue;
        if (!isNeeded(ref, needed, snapshot))
          return `${name} still has block ${blockRefKey(ref)}, which is dead`;
      }
    }
    const buried = [...snapshot.tombstones.keys()];
    return buried.length === 0 ? null : `volume ${buried[0]} is deleted and its tombstone still there`;
  }

  /** Judges all removals so far; false when INodes cannot be read now. */
  async look(): Promise<boolean> {
    const removals = this.#removals;
    if (removals.length === 0) return true;
    this.#removals = [];
    let needed: Set<string>;
    let snapshot: ClusterSnapshot;
    try {
      snapshot = await this.#cluster.admin.snapshot();
      needed = await this.#neededNow();
    } catch (error) {
      if (!isTorusError(error)) throw error;
      this.#removals.unshift(...removals);
      return false;
    }
    for (const removal of removals) {
      if (isNeeded(removal.ref, needed, snapshot))
        this.#accuse(removal, "which an INode, or the log of a history, needs");
    }
    return true;
  }

  #accuse({ peer, ref, atMs }: Removal, why: string): void {
    const name = this.#cluster.peers.find(({ id }) => id === peer)?.name ?? peer;
    this.#cluster.world.violate(
      "nothing live is deleted",
      `${name} removed block ${blockRefKey(ref)} at ${Math.round(atMs)} ms, ${why}`,
    );
  }

  #lookSoon(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const { world } = this.#cluster;
    world.clock.setTimer(lookAfterMs, () => {
      this.#isWaiting = false;
      this.look().then(
        () => {
          if (this.#removals.length > 0) this.#lookSoon();
        },
        (error: unknown) => world.violateBy(error, "the space checker"),
      );
    });
  }

  /** The blocks that INodes need by the metadata as it is now; null while some cannot be read. */
  async needed(): Promise<ReadonlySet<string> | null> {
    try {
      return await this.#neededNow();
    } catch (error) {
      if (!isTorusError(error)) throw error;
      return null;
    }
  }

  async #neededNow(): Promise<Set<string>> {
    const needed = new Set<string>();
    const roots = rootsOf(await this.#cluster.admin.snapshot());
    await this.#needed.walk(
      roots,
      (pointer) => this.#readNode(pointer),
      (ref) => needed.add(blockRefKey(ref)),
    );
    return needed;
  }

  /** From whichever disk has it. */
  async #readNode({ ref, offset, length, checksum }: NodePointer): Promise<Uint8Array> {
    for (const { store } of this.#cluster.peers) {
      if (store === null) continue;
      const bytes = await store.read(ref, offset, length).catch(() => null);
      if (bytes !== null && crc32(bytes) === checksum) return bytes;
    }
    const removal = this.#removed.get(blockRefKey(ref));
    if (removal !== undefined) this.#accuse(removal, "and an INode has nodes in it");
    throw new TorusError("unavailable", `no peer that runs has a node in block ${blockRefKey(ref)}`);
  }
}

/** `named`: by INodes. */
function isNeeded(ref: BlockRef, named: ReadonlySet<string>, { volumes }: ClusterSnapshot): boolean {
  const state = volumes.get(ref.volume);
  const standing = state === undefined ? "none" : historyStanding(ref, state);
  return standing === "needed" || (standing === "none" && named.has(blockRefKey(ref)));
}

async function blocksOf(store: { list: OwnStore["list"] }): Promise<BlockStatus[]> {
  const found: BlockStatus[] = [];
  let after: BlockRef | null = null;
  do {
    const page: Awaited<ReturnType<OwnStore["list"]>> = await store.list(after, pageBlocks);
    found.push(...page.blocks);
    after = page.next;
  } while (after !== null);
  return found;
}

/** A peer's store whose removals of blocks that its collector `isDead` about are told. */
export class AuditedStore extends PassingStore implements OwnStore {
  readonly #own: OwnStore;
  readonly #isDead: (ref: BlockRef) => boolean;
  readonly #removed: (ref: BlockRef) => void;

  constructor(own: OwnStore, isDead: (ref: BlockRef) => boolean, removed: (ref: BlockRef) => void) {
    super(own);
    this.#own = own;
    this.#isDead = isDead;
    this.#removed = removed;
  }

  remove(ref: BlockRef, mayRemove: () => boolean): Promise<boolean> {
    return this.#own.remove(ref, () => {
      if (!mayRemove()) return false;
      if (this.#isDead(ref)) this.#removed(ref);
      return true;
    });
  }

  verify(ref: BlockRef): Promise<boolean | null> {
    return this.#own.verify(ref);
  }
}
