// A cluster in memory whose peers collect, and an audit that reads every INode whole.

import assert from "node:assert/strict";
import { Metrics } from "#host";
import { systemClock } from "#host/node";
import type { ClusterMetadata, NodePointer } from "#metadata";
import type { BlockRef, BlockStatus, PeerId } from "#model";
import { blockRefKey, crc32, pageBytes, TorusError } from "#model";
import type { MemoryStore } from "#storage";
import { TestCluster } from "../volume/cluster.fixture.ts";
import { bruteForce } from "../volume/inode.fixture.ts";
import { Collector } from "./collector.ts";
import type { OwnStore } from "./own-store.ts";
import { historyStanding, rootsOf } from "./roots.ts";

const options = {
  graceMs: 0,
  everyMs: 1000,
  readTimeoutMs: 300,
  cacheBytesMax: 2 ** 20,
  memoryBytesMax: 2 ** 20,
};
export const running = (): boolean => false;

interface LogLine {
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export class CollectedCluster {
  readonly cluster: TestCluster;
  readonly metadata: ClusterMetadata;
  readonly errors: LogLine[] = [];
  readonly collectors: Collector[];
  mayDelete = true;
  /** As the peers know it. */
  ringVersion = 1;

  constructor(cluster: TestCluster) {
    this.cluster = cluster;
    this.metadata = cluster.metadata();
    this.collectors = cluster.stores.map((store) => this.collector(store));
  }

  static async open(peers = 3, replicas = 2): Promise<CollectedCluster> {
    return new CollectedCluster(await TestCluster.open({ peers, replicas, blockBytes: 64 * 1024 }));
  }

  collector(store: OwnStore): Collector {
    const peers = this.cluster.stores.map(({ peer }) => peer);
    const quiet = (): void => {};
    const log = {
      debug: quiet,
      info: quiet,
      warn: quiet,
      error: (message: string, fields = {}) => void this.errors.push({ message, fields }),
      child: () => log,
    };
    return new Collector(options, {
      store,
      metadata: this.metadata,
      candidatesOf: () => peers,
      refresh: async () => 1,
      storeOf: (peer) => this.#reached(peer),
      ringVersion: () => this.ringVersion,
      mayDelete: () => this.mayDelete,
      clock: systemClock,
      log,
      metrics: new Metrics(),
    });
  }

  #reached(peer: PeerId): MemoryStore {
    if (this.cluster.cut.has(peer)) throw new TorusError("unavailable", `peer ${peer} is cut off`);
    return this.cluster.store(peer);
  }

  /** Writes every page once, in an epoch of its own. */
  async overwrite(name: string, pages: number, seed: number): Promise<void> {
    const { volume, client } = await this.cluster.attach(name);
    for (let page = 0; page < pages; page++) await volume.write(page * pageBytes, content(seed, page), false);
    await volume.close();
    await client.close();
  }

  async requireContent(name: string, pages: number, seed: number): Promise<void> {
    const { volume, client } = await this.cluster.attach(name);
    for (let page = 0; page < pages; page++)
      assert.deepEqual(
        Buffer.from(await volume.read(page * pageBytes, pageBytes)),
        Buffer.from(content(seed, page)),
        `page ${page} of ${name}`,
      );
    await volume.close();
    await client.close();
  }

  async delete(name: string): Promise<void> {
    const fence = async ({ spec: { id } }: { spec: { id: number } }, epoch: number): Promise<void> => {
      for (const store of this.cluster.stores) await store.fence(id, epoch, 1, 1, null);
    };
    await this.metadata.volumes.delete(name, { force: false, fence });
  }

  /** Two passes of every peer: the first finds, the second removes. */
  async settle(): Promise<void> {
    for (let pass = 0; pass < 2; pass++)
      for (const collector of this.collectors) await collector.pass(running);
  }

  async blocks(): Promise<Map<PeerId, BlockStatus[]>> {
    const found = new Map<PeerId, BlockStatus[]>();
    for (const store of this.cluster.stores)
      found.set(store.peer, [...(await store.list(null, 1_000_000)).blocks]);
    return found;
  }

  async count(): Promise<number> {
    return [...(await this.blocks()).values()].flat().length;
  }

  /** Names of the blocks that INodes need, by reading all of each, and of those of logs that are kept. */
  async needed(): Promise<Set<string>> {
    const needed = new Set<string>();
    const snapshot = await this.metadata.snapshot();
    for (const root of rootsOf(snapshot))
      for (const key of await bruteForce(root, (pointer) => this.#readNode(pointer))) needed.add(key);
    for (const { ref } of [...(await this.blocks()).values()].flat()) {
      const state = snapshot.volumes.get(ref.volume);
      if (state === undefined) continue;
      const standing = historyStanding(ref, state);
      if (standing === "needed") needed.add(blockRefKey(ref));
      if (standing === "superseded") needed.delete(blockRefKey(ref));
    }
    return needed;
  }

  /** Every block here is needed, or above head: no leak. Every needed block has all its copies: no loss. */
  async audit(replicas: number): Promise<void> {
    const needed = await this.needed();
    const { volumes } = await this.metadata.snapshot();
    const copies = new Map<string, number>();
    for (const { ref } of [...(await this.blocks()).values()].flat()) {
      const key = blockRefKey(ref);
      copies.set(key, (copies.get(key) ?? 0) + 1);
      const head = volumes.get(ref.volume)?.head;
      const above =
        head?.epoch === ref.epoch &&
        ref.index >= (ref.type === 0 ? head.replayFrom : (head.root?.ref.index ?? 0));
      assert.ok(needed.has(key) || above, `block ${key} should be gone`);
    }
    for (const key of needed) assert.equal(copies.get(key), replicas, `copies of ${key}`);
  }

  async #readNode({ ref, offset, length, checksum }: NodePointer): Promise<Uint8Array> {
    for (const store of this.cluster.stores) {
      const bytes = await store.read(ref, offset, length).catch(() => null);
      if (bytes !== null && crc32(bytes) === checksum) return bytes;
    }
    throw new Error(`nobody has block ${blockRefKey(ref)}`);
  }
}

export function content(seed: number, page: number): Uint8Array {
  return new Uint8Array(pageBytes).map((_, i) => (seed * 131 + page * 17 + (i >> 3)) & 255);
}

/** Each peer tells the metadata service what its collector found. */
export async function beatAll(
  at: CollectedCluster,
  leases = new Map<PeerId, number>(),
): Promise<Map<PeerId, number>> {
  for (const [i, { peer }] of at.cluster.stores.entries()) {
    const { peers } = at.metadata;
    await peers.register({ peer, address: `h${i}:1`, sizeBytes: 2 ** 30, labels: {}, protocolVersion: 1 });
    const lease = leases.get(peer) ?? (await peers.grantLease(60_000));
    leases.set(peer, lease);
    const { collected } = at.collectors[i];
    const alive = {
      incarnation: 1,
      usedBytes: 0,
      blocks: 0,
      updatedMs: 1,
      condition: "ok",
      upkeep: null,
      collected,
      scrub: null,
    };
    await peers.beat(peer, alive, lease);
  }
  return leases;
}

export async function holdersOf(at: CollectedCluster, ref: BlockRef): Promise<MemoryStore[]> {
  const found: MemoryStore[] = [];
  for (const store of at.cluster.stores)
    if ((await store.stat([ref]))[0].state === "sealed") found.push(store);
  return found;
}
