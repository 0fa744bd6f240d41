// A cluster in one process for tests of volumes: memory metadata, memory stores behind links that can be cut, and as many clients as a
// test wants. Seeded; a client is "killed" by cutting it off from everything, at once.

import { Metrics } from "#host";
import { systemClock, systemRandom } from "#host/node";
import type { AcknowledgeMode, Boot, StateBackup } from "#metadata";
import { ClusterMetadata, MemoryMetadataService, MemoryMetadataState } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { TorusError } from "#model";
import { MemoryStore } from "#storage";
import type { ClientsReach } from "./attach-options.ts";
import type { AttachedVolume } from "./catalog.ts";
import { ClusterVolumes } from "./cluster-volumes.ts";

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
}

export interface ClientPlace {
  readonly here: Boot | null;
  readonly clients: ClientsReach;
}

export interface TestClient {
  readonly volumes: ClusterVolumes;
  readonly metrics: Metrics;
  /** Nothing it sends arrives any more, nothing answers it. */
  kill(): void;
  close(): Promise<void>;
}

export class TestCluster {
  readonly stores: MemoryStore[] = [];
  readonly cut = new Set<PeerId>();
  readonly #state = new MemoryMetadataState({ historyRevisionsMax: 10_000 }, { clock: systemClock });
  readonly #options: TestClusterOptions;
  /** The metadata service answers nobody. */
  metadataAway = false;
  /** Bytes of appends that reached any store. */
  appendedBytes = 0;

  private constructor(options: TestClusterOptions) {
    this.#options = options;
  }

  static async open(options: TestClusterOptions): Promise<TestCluster> {
    const cluster = new TestCluster(options);
    const metadata = cluster.metadata();
    const members: { peer: PeerId; weight: number; labels: Record<string, string> }[] = [];
    for (let i = 1; i <= options.peers; i++) {
      const peer = `00000000-0000-4000-8000-00000000000${i}`;
      cluster.stores.push(new MemoryStore({ peer, sizeBytes: options.storeBytes ?? 2 ** 32 }));
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

  metadata(): ClusterMetadata {
    const service = new MemoryMetadataService({ state: this.#state }, { clock: systemClock });
    const linked = new Proxy(service, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target);
        if (typeof value !== "function" || key === "watch" || key === "close")
          return typeof value === "function" ? value.bind(target) : value;
        return async (...args: unknown[]) => {
          if (this.metadataAway) throw new TorusError("unavailable", "the metadata service is cut off");
          return Reflect.apply(value, target, args);
        };
      },
    });
    return new ClusterMetadata(linked, { clock: systemClock, random: systemRandom, log: silentLog });
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
    const metrics = new Metrics();
    const volumes = await ClusterVolumes.open(
      {
        holder: "test",
        ...place,
        leaseTtlMs: this.#options.leaseTtlMs ?? 10_000,
        writeCacheBytes: 1024 * 1024,
        mapCacheBytes: 4 * 1024 * 1024,
        attachTimeoutMs: this.#options.attachTimeoutMs ?? 3000,
        closeTimeoutMs: 500,
      },
      {
        metadata: this.metadata(),
        storesFor: () => (peer) => this.#linked(peer, link),
        clock: systemClock,
        random: systemRandom,
        log: silentLog,
        metrics,
      },
    );
    return {
      volumes,
      metrics,
      kill: () => {
        link.dead = true;
      },
      close: () => volumes.close(),
    };
  }

  /** Attaches `name` by force from a client of its own. */
  async attach(name: string, place?: ClientPlace): Promise<{ volume: AttachedVolume; client: TestClient }> {
    const client = await this.client(place);
    return { client, volume: await client.volumes.attach(name, { force: true }) };
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
          if (key === "append") this.appendedBytes += (args[2] as Uint8Array).length;
          const answer = await Reflect.apply(value, target, args);
          if (away()) throw new TorusError("unavailable", `peer ${peer} is cut off`);
          return answer;
        };
      },
    });
  }
}
