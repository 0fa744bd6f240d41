// A cluster in one process for tests of volumes: memory metadata, memory stores behind links that can be cut, and as many clients as a
// test wants. Seeded; a client is "killed" by cutting it off from everything, at once.

import { after } from "node:test";
import { Reader, readerDefaults } from "#distributor";
import { Metrics } from "#host";
import { systemClock, systemRandom } from "#host/node";
import type { AcknowledgeMode, Boot, Change, StateBackup } from "#metadata";
import { ClusterMetadata, MemoryMetadataService, MemoryMetadataState } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { assert, blockType, TorusError } from "#model";
import { MemoryStore } from "#storage";
import type { AttachTuning, ClientsReach } from "./attach-options.ts";
import { BlockTable } from "./block-table.ts";
import type { AttachedVolume } from "./catalog.ts";
import type { CleanerOptions } from "./cleaner.ts";
import { ClusterVolumes } from "./cluster-volumes.ts";

import { openInode } from "./inode.ts";
import { LimitedVolume } from "./limited-volume.ts";
import { Volume } from "./volume.ts";

const silentLog = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child() {
    return silentLog;
  },
};

export interface TestClusterOptions {
  readonly peers: number;
  readonly replicas: number;
  readonly blockBytes: number;
  readonly leaseTtlMs?: number;
  /** Of each peer's store. */
  readonly storeBytes?: number;
  readonly attachTimeoutMs?: number;
  readonly closeTimeoutMs?: number;
  /** What each store keeps back from new data. */
  readonly reserveBytes?: number;
  /** Of every client; none when not given, so that only tests about it see pages move. */
  readonly cleaner?: CleanerOptions;
  readonly tuning?: AttachTuning;
  /** Of every client; a small one when not given. */
  readonly readCacheBytes?: number;
}

export interface ClientPlace {
  readonly here: Boot | null;
  readonly clients: ClientsReach;
}

export interface TestClient {
  readonly volumes: ClusterVolumes;
  readonly metrics: Metrics;
  /** Nothing it sends to peers arrives any more, nothing answers it. */
  kill(): void;
  /** Nor does anything from and to the metadata service: its lease runs out. It must be closed all the same. */
  vanish(): void;
  close(): Promise<void>;
}

/** Clients that nobody has closed: those of a test that failed, which keep the process alive. */
const unclosed = new Set<TestClient>();

after(async () => {
  for (const client of unclosed) client.vanish();
  await Promise.allSettled([...unclosed].map((client) => client.close()));
});

export class TestCluster {
  readonly stores: MemoryStore[] = [];
  readonly cut = new Set<PeerId>();
  /** Peers have no space for INodes, not even in their reserve. */
  isFullForInodes = false;
  readonly #state = new MemoryMetadataState({ historyRevisionsMax: 10_000 }, { clock: systemClock });
  readonly #options: TestClusterOptions;
  /** The metadata service answers nobody. */
  metadataAway = false;
  /** Bytes of appends that reached any store. */
  appendedBytes = 0;
  /** Of all clients: transactions and the bytes of their values; reads of blocks and their bytes; blocks put whole and their bytes. */
  readonly work = { transactions: 0, metadataBytes: 0, reads: 0, readBytes: 0, puts: 0, putBytes: 0 };

  private constructor(options: TestClusterOptions) {
    this.#options = options;
  }

  static async open(options: TestClusterOptions): Promise<TestCluster> {
    const cluster = new TestCluster(options);
    const metadata = cluster.metadata();
    const members: { peer: PeerId; weight: number; labels: Record<string, string> }[] = [];
    for (let i = 1; i <= options.peers; i++) {
      const peer = `00000000-0000-4000-8000-00000000000${i}`;
      const { storeBytes: sizeBytes = 2 ** 32, reserveBytes = 0 } = options;
      cluster.stores.push(new MemoryStore({ peer, sizeBytes, reserveBytes }));
      members.push({ peer, weight: 1, labels: { host: `h${i}` } });
    }
    await metadata.init({
      blockBytes: options.blockBytes,
      ring: { version: 1, type: "rendezvous", replicas: options.replicas, members },
    });
    return cluster;
  }

  /** The metadata as it is now, to be put back later. */
  backUp(): StateBackup {
    return this.#state.backUp();
  }

  restore(backup: StateBackup): void {
    this.#state.restore(backup);
  }

  metadata(link: { readonly dead: boolean } = { dead: false }): ClusterMetadata {
    const service = new MemoryMetadataService({ state: this.#state }, { clock: systemClock });
    const linked = new Proxy(service, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target);
        if (typeof value !== "function" || key === "watch" || key === "close")
          return typeof value === "function" ? value.bind(target) : value;
        return async (...args: unknown[]) => {
          if (this.metadataAway || link.dead)
            throw new TorusError("unavailable", "the metadata service is cut off");
          if (key === "transact") this.#countChanges(args[1] as readonly Change[]);
          return Reflect.apply(value, target, args);
        };
      },
    });
    return new ClusterMetadata(linked, { clock: systemClock, random: systemRandom, log: silentLog });
  }

  #countBlock(what: "read" | "put", { length }: Uint8Array): void {
    this.work[`${what}s`] += 1;
    this.work[`${what}Bytes`] += length;
  }

  #countChanges(changes: readonly Change[]): void {
    this.work.transactions += 1;
    for (const change of changes) if (change.kind === "put") this.work.metadataBytes += change.value.length;
  }

  /** One more peer, in no ring. */
  addStore(peer: PeerId): MemoryStore {
    const store = new MemoryStore({ peer, sizeBytes: 2 ** 32 });
    this.stores.push(store);
    return store;
  }

  store(peer: PeerId): MemoryStore {
    const store = this.stores.find((candidate) => candidate.peer === peer);
    if (store === undefined) throw new TorusError("not-found", `no peer ${peer}`);
    return store;
  }

  async createVolume(
    name: string,
    sizeBytes: number,
    acknowledge: AcknowledgeMode = "replicated",
  ): Promise<void> {
    const minReplicas = Math.min(2, this.#options.replicas);
    await this.metadata().volumes.create({ name, sizeBytes, acknowledge, minReplicas });
  }

  /** By default one that nobody outlives. */
  async client(place: ClientPlace = { here: null, clients: "none" }): Promise<TestClient> {
    const link = { dead: false };
    const metadataLink = { dead: false };
    const metrics = new Metrics();
    const volumes = await ClusterVolumes.open(
      {
        holder: "test",
        ...place,
        leaseTtlMs: this.#options.leaseTtlMs ?? 10_000,
        writeCacheBytes: 1024 * 1024,
        mapCacheBytes: 4 * 1024 * 1024,
        readCacheBytes: this.#options.readCacheBytes ?? 256 * 1024,
        attachTimeoutMs: this.#options.attachTimeoutMs ?? 3000,
        closeTimeoutMs: this.#options.closeTimeoutMs ?? 500,
        cleaner: this.#options.cleaner ?? null,
        ...(this.#options.tuning === undefined ? {} : { tuning: this.#options.tuning }),
      },
      {
        metadata: this.metadata(metadataLink),
        storesFor: () => (peer) => this.#linked(peer, link),
        clock: systemClock,
        random: systemRandom,
        log: silentLog,
        metrics,
      },
    );
    const client: TestClient = {
      volumes,
      metrics,
      kill: () => {
        link.dead = true;
      },
      vanish: () => {
        link.dead = true;
        metadataLink.dead = true;
      },
      close: async () => {
        await volumes.close();
        unclosed.delete(client);
      },
    };
    unclosed.add(client);
    return client;
  }

  /** Attaches `name` by force from a client of its own. */
  async attach(name: string, place?: ClientPlace): Promise<{ volume: AttachedVolume; client: TestClient }> {
    const client = await this.client(place);
    return { client, volume: await client.volumes.attach(name, { force: true }) };
  }

  /** Blocks of data that the newest committed INode of `name` and the log behind it do not need, deleted from every store. */
  async collect(name: string): Promise<number> {
    const { head } = await this.metadata().volumes.find(name);
    if (head === null) return 0;
    const table = new BlockTable();
    await openInode({ root: head.root, mapCacheBytes: 0 }, { table, reader: this.#plainReader() });
    let deleted = 0;
    for (const store of this.stores) {
      for (const { ref } of (await store.list(null, 1_000_000)).blocks) {
        const isOfLog = ref.epoch > head.epoch || (ref.epoch === head.epoch && ref.index >= head.replayFrom);
        if (ref.type !== blockType.data || isOfLog || table.idOf(ref) !== 0) continue;
        await store.remove(ref);
        deleted += 1;
      }
    }
    return deleted;
  }

  /** Data blocks of the fullest store. */
  async dataBlocks(): Promise<number> {
    const counts = this.stores.map(async (store) => {
      const { blocks } = await store.list(null, 1_000_000);
      return blocks.filter(({ ref }) => ref.type === blockType.data).length;
    });
    return Math.max(...(await Promise.all(counts)));
  }

  /** Of whichever store has the block. */
  #plainReader(): Reader {
    return new Reader(readerDefaults, {
      storeOf: (peer) => this.store(peer),
      candidatesOf: () => this.stores.map(({ peer }) => peer),
      replicas: () => this.#options.replicas,
      refresh: async () => 1,
      onBadCopy: () => {},
      clock: systemClock,
      log: silentLog,
      metrics: new Metrics(),
    });
  }

  #linked(peer: PeerId, link: { readonly dead: boolean }): BlockStore {
    const store = this.store(peer);
    const away = (): boolean => link.dead || this.cut.has(peer);
    return new Proxy(store, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        return async (...args: unknown[]) => {
          await new Promise((resolve) => setImmediate(resolve));
          if (away()) throw new TorusError("unavailable", `peer ${peer} is cut off`);
          if (key === "put" && this.isFullForInodes)
            throw new TorusError("full", `peer ${peer} has no space`);
          if (key === "append") this.appendedBytes += (args[2] as Uint8Array).length;
          const answer = await Reflect.apply(value, target, args);
          if (key === "read") this.#countBlock("read", answer as Uint8Array);
          if (key === "put") this.#countBlock("put", args[1] as Uint8Array);
          if (away()) throw new TorusError("unavailable", `peer ${peer} is cut off`);
          return answer;
        };
      },
    });
  }
}

/** What a client attached, without what only its users see of it. */
export function volumeOf(attached: AttachedVolume): Volume {
  const volume = attached instanceof LimitedVolume ? attached.unlimited : attached;
  assert(volume instanceof Volume, "it is attached for writing");
  return volume;
}
