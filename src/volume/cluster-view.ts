// ClusterView: what a client of volumes knows of the cluster: the rings, kept up to date by watch, and the peers' addresses; that of a
// peer is read again when it is needed and not known, or does not answer.

import type { Clock, Log } from "#host";
import type { ClusterMetadata, ClusterRecord, PeerStatus } from "#metadata";
import type { BlockRef, PeerId } from "#model";
import { messageOf, TorusError } from "#model";
import type { Ring, RingDescription } from "#ring";
import { createRing } from "#ring";

export interface ClusterViewDeps {
  readonly metadata: ClusterMetadata;
  readonly clock: Clock;
  readonly log: Log;
}

const refreshEveryMs = 1000;
/** Peers whose addresses are read at once. */
const askedMax = 64;
const poolRefreshEveryMs = 10_000;
/** Reading all peers costs by their number, and so does the number of those who read them: it is done the more rarely. */
const refreshMsPerPeer = 20;
const tightUse = 0.85;

export interface PoolUse {
  /** The fullest peer's used part, 0 to 1: it is the first to refuse. */
  readonly use: number;
  /** What the ring's peers have room for, counting each block once; 0 when none has said its size. */
  readonly copyBytes: number;
}

function poolUseOf(peers: readonly PeerStatus[], replicas: number): PoolUse {
  let use = 0;
  let sizeBytes = 0;
  for (const { record, alive, inRing } of peers) {
    if (record === null || !inRing) continue;
    sizeBytes += record.sizeBytes;
    if (alive !== null) use = Math.max(use, alive.usedBytes / record.sizeBytes);
  }
  return { use, copyBytes: sizeBytes / replicas };
}

/** Those that have said how full they are, the fullest first. */
function fullestOf(peers: readonly PeerStatus[]): PeerId[] {
  return peers
    .flatMap(({ peer, record, alive }) =>
      record === null || alive === null ? [] : [{ peer, use: alive.usedBytes / record.sizeBytes }],
    )
    .sort((a, b) => b.use - a.use)
    .map(({ peer }) => peer);
}

export class ClusterView {
  readonly cluster: ClusterRecord;
  readonly #metadata: ClusterMetadata;
  readonly #log: Log;
  readonly #rings = new Map<number, Ring>();
  readonly #addresses = new Map<PeerId, string>();
  readonly #listeners = new Set<() => void>();
  readonly #clock: Clock;
  /** Peers whose addresses may be out of date. */
  readonly #asked = new Set<PeerId>();
  #askedMs: number;
  #refreshedMs: number;
  #pool: PoolUse = { use: 0, copyBytes: 0 };
  #fullest: readonly PeerId[] = [];
  #closed = false;
  #current: Ring;
  /** Computed when it is asked for: rings change rarely, and it is asked for each read. */
  #former: readonly PeerId[] | null = null;
  #watch: { close(): void } | null = null;

  private constructor(cluster: ClusterRecord, rings: readonly RingDescription[], deps: ClusterViewDeps) {
    this.cluster = cluster;
    this.#metadata = deps.metadata;
    this.#log = deps.log;
    this.#clock = deps.clock;
    this.#refreshedMs = deps.clock.monotonicMs();
    this.#askedMs = this.#refreshedMs;
    for (const description of rings) this.#rings.set(description.version, createRing(description));
    const current = this.#rings.get(Math.max(...this.#rings.keys()));
    if (current === undefined) throw new TorusError("corrupt", "the cluster has no ring");
    this.#current = current;
  }

  /** `not-found` when the cluster was not initialised. */
  static async open(deps: ClusterViewDeps): Promise<ClusterView> {
    const { metadata } = deps;
    const cluster = await metadata.load();
    const view = new ClusterView(cluster, await metadata.rings.versions(), deps);
    await view.refreshPeers();
    view.#watch = metadata.rings.watch(view.#current.version, (ring) => view.#changed(ring));
    return view;
  }

  /** The newest ring. */
  get ring(): Ring {
    return this.#current;
  }

  /** A kept version; the simplest view of an unknown one is an error, since it decides who holds what. */
  ringOf(version: number): Ring {
    const ring = this.#rings.get(version);
    if (ring === undefined)
      throw new TorusError("unavailable", `ring version ${version} is not known here yet`);
    return ring;
  }

  /** Reads ring versions this view has missed. */
  async requireRings(versions: readonly number[]): Promise<void> {
    for (const version of versions) {
      if (!this.#rings.has(version)) this.#addRing(createRing(await this.#metadata.rings.version(version)));
    }
  }

  #addRing(ring: Ring): void {
    this.#rings.set(ring.version, ring);
    this.#former = null;
  }

  /** Every peer that may hold `ref`: the newest ring's order, then those only older rings know. */
  candidatesOf(ref: BlockRef): PeerId[] {
    const candidates = this.#current.permutation(ref);
    this.#former ??= this.#formerPeers(candidates);
    if (this.#former.length > 0) candidates.push(...this.#former);
    return candidates;
  }

  /** Members of all rings that are not in `permutation`, which for every block has the same ones; those of newer rings first. */
  #formerPeers(permutation: readonly PeerId[]): PeerId[] {
    const seen = new Set(permutation);
    const former: PeerId[] = [];
    for (const version of [...this.#rings.keys()].sort((a, b) => b - a)) {
      for (const { peer } of this.ringOf(version).members) {
        if (!seen.has(peer)) former.push(peer);
        seen.add(peer);
      }
    }
    return former;
  }

  /** Where a new block that the log does not place goes: the newest ring's first peers that are not in `without`. */
  membersOf(ref: BlockRef, without: readonly PeerId[]): PeerId[] {
    const ring = this.#current;
    return (ring.parts?.new ?? ring)
      .permutation(ref)
      .filter((peer) => !without.includes(peer))
      .slice(0, ring.replicas);
  }

  /**
   * HOST:PORT of a peer; null when it never registered. Asked at each attempt to connect, which is when an address may be out of
   * date: a fresh one is read in the background for the next attempt.
   */
  addressOf(peer: PeerId): string | null {
    if (this.#asked.size < askedMax) this.#asked.add(peer);
    this.#refreshAsked();
    return this.#addresses.get(peer) ?? null;
  }

  /** Every peer that registered, as of the last `refreshPeers`. */
  get registered(): PeerId[] {
    return [...this.#addresses.keys()];
  }

  /** How full the pool is, as its peers last said of themselves, some seconds ago. A fresh answer is read in the background. */
  pool(): PoolUse {
    this.#refreshAfter(poolRefreshEveryMs);
    return this.#pool;
  }

  /** Members of the newest ring, those first that were fullest as of the last answer. */
  fullest(): readonly PeerId[] {
    this.#refreshAfter(poolRefreshEveryMs);
    const { members } = this.#current.parts?.new ?? this.#current;
    const peers = members.map(({ peer }) => peer);
    const known = this.#fullest.filter((peer) => peers.includes(peer));
    return [...known, ...peers.filter((peer) => !known.includes(peer))];
  }

  /** Some peer may soon have no space for new data, as of the last answer. */
  get isTight(): boolean {
    return this.#pool.use >= tightUse;
  }

  async refreshPeers(): Promise<void> {
    const { peers } = await this.#metadata.peers.list();
    this.#addresses.clear();
    for (const { peer, record } of peers) if (record !== null) this.#addresses.set(peer, record.address);
    this.#pool = poolUseOf(peers, this.#current.replicas);
    this.#fullest = fullestOf(peers);
  }

  #refreshAsked(): void {
    const now = this.#clock.monotonicMs();
    if (now - this.#askedMs < refreshEveryMs || this.#closed) return;
    this.#askedMs = now;
    const asked = [...this.#asked];
    this.#asked.clear();
    this.#metadata.peers
      .records(asked)
      .then((records) => {
        for (const { peer, address } of records) this.#addresses.set(peer, address);
      })
      .catch((error: unknown) => {
        this.#log.debug("addresses of peers could not be read", { reason: messageOf(error) });
      });
  }

  #refreshAfter(ageMs: number): void {
    const now = this.#clock.monotonicMs();
    const leastMs = Math.max(ageMs, this.#addresses.size * refreshMsPerPeer);
    if (now - this.#refreshedMs < leastMs || this.#closed) return;
    this.#refreshedMs = now;
    this.refreshPeers().catch((error: unknown) => {
      this.#log.debug("peers could not be read", { reason: messageOf(error) });
    });
  }

  /** Makes sure this view has the newest ring, and resolves with its version. Rejects while the metadata service is away. */
  async refreshRing(): Promise<number> {
    const description = await this.#metadata.rings.current();
    if (description.version > this.#current.version && !this.#closed) this.#changed(description);
    return this.#current.version;
  }

  /** Calls back at every new ring until the returned function is called. */
  onRing(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
    this.#listeners.clear();
  }

  #changed(description: RingDescription): void {
    if (description.version <= this.#current.version) return;
    const ring = createRing(description);
    this.#addRing(ring);
    this.#current = ring;
    this.#log.info("a new ring is in force", { version: ring.version, ring: ring.describe() });
    this.refreshPeers()
      .catch((error: unknown) =>
        this.#log.warn("peers' addresses could not be read", { reason: messageOf(error) }),
      )
      .finally(() => {
        for (const listener of this.#listeners) listener();
      });
  }
}
