// ScaleCluster: hundreds of peers, racks of them, and thousands of volumes, in virtual time: the rings, upkeep, heartbeats and metadata are the real
// ones; blocks are a sample, and the metadata service answers at once.

import type { ClusterSnapshot } from "#metadata";
import { ClusterMetadata, MemoryMetadataService, MemoryMetadataState } from "#metadata";
import type { BlockRef, PeerId, PeerStore } from "#model";
import { TorusError } from "#model";
import type { Ring, RingDescription } from "#ring";
import { addMembers, createRing, removeMembers } from "#ring";
import { ClusterView } from "#volume";
import { SimClock } from "../clock.ts";
import { SeededRandom } from "../random.ts";
import { Meter, MeteredService } from "./meter.ts";
import { quietLog } from "./quiet-log.ts";
import { SampledBlocks } from "./sampled-blocks.ts";
import { ScalePeer } from "./scale-peer.ts";
import { CountedInodes, ScaleVolumes } from "./scale-volumes.ts";
import { SharedMetadata } from "./shared-metadata.ts";
import type { ScaleSize } from "./size.ts";

/** From a checkpoint of a volume that is written to its next. */
const checkpointEveryMs = 10 * 60_000;
/** Until writers go on by a new ring. */
const followMs = 30_000;
const setUpMsMax = 3_600_000;

export class ScaleCluster {
  readonly size: ScaleSize;
  readonly clock = new SimClock();
  readonly meter = new Meter();
  readonly blocks: SampledBlocks;
  readonly volumes: ScaleVolumes;
  readonly peers: ScalePeer[] = [];
  /** An operator's way in, which is not counted. */
  readonly admin: ClusterMetadata;
  movedBytes = 0;
  readonly #byId = new Map<PeerId, ScalePeer>();
  readonly #shared: SharedMetadata;
  readonly #viewSource: ClusterMetadata;
  #view: ClusterView | null = null;
  #changes = 0;

  constructor(size: ScaleSize) {
    this.size = size;
    const { clock } = this;
    const state = new MemoryMetadataState({}, { clock });
    const service = new MemoryMetadataService({ state }, { clock });
    const transact = service.transact.bind(service);
    service.transact = (guards, changes) => {
      if (changes.some(({ key }) => !key.startsWith("peers/"))) this.#changes += 1;
      return transact(guards, changes);
    };
    const wall = { ...clockOf(clock), wallMs: () => Math.floor(clock.wallMs()) };
    const deps = { clock: wall, random: new SeededRandom(size.seed, 1 << 20), log: quietLog };
    this.admin = new ClusterMetadata(service, deps);
    this.#shared = new SharedMetadata(this.meter, { ...deps, service, changes: () => this.#changes });
    this.#viewSource = new ClusterMetadata(new MeteredService("rings", service, this.meter), deps);
    const ring = createRing({ version: 1, type: "empty", replicas: size.replicas, members: [] });
    this.blocks = new SampledBlocks(size, ring);
    this.volumes = new ScaleVolumes(size, 2, this.admin);
  }

  /** All peers are there, every block where the ring wants it. */
  async setUp(): Promise<void> {
    const { admin, clock, size } = this;
    const ring: RingDescription = { version: 1, type: "empty", replicas: size.replicas, members: [] };
    await clock.run(admin.init({ blockBytes: size.blockBytes, ring }), setUpMsMax);
    const perRack = Math.ceil(size.peers / size.racks);
    const made = Array.from({ length: size.peers }, (_, i) => this.#newPeer(Math.floor(i / perRack)));
    const first = addMembers(
      ring,
      made.map(({ member }) => member),
    );
    await clock.run(admin.rings.change(ring, first), setUpMsMax);
    this.#useRing(createRing(first));
    for (const ref of this.blocks.refs)
      for (const peer of this.blocks.desired(ref)) this.#byId.get(peer)?.store.place(ref);
    this.#useRing(createRing(first));
    await clock.run(this.volumes.make(), setUpMsMax);
    const view = ClusterView.open({ metadata: this.#viewSource, clock, log: quietLog });
    this.#view = await clock.run(view, setUpMsMax);
    this.#view.onRing(() => this.#ringChanged());
    await this.#startAll(made);
    this.#checkpointLater();
  }

  /** A new rack. Returns its peers, in the ring. */
  async join(count: number): Promise<readonly ScalePeer[]> {
    const made = Array.from({ length: count }, () => this.#newPeer(this.size.racks));
    await this.#startAll(made);
    await this.#change((ring) =>
      addMembers(
        ring,
        made.map(({ member }) => member),
      ),
    );
    return made;
  }

  /** All peers of a rack lose power. */
  loseRack(rack: string): readonly ScalePeer[] {
    const lost = this.alive.filter((peer) => peer.rack === rack);
    for (const peer of lost) peer.kill();
    return lost;
  }

  /** Peers that are alive leave the ring. */
  async drain(count: number): Promise<readonly ScalePeer[]> {
    const leaving = this.alive.slice(-count);
    await this.#change((ring) =>
      removeMembers(
        ring,
        leaving.map(({ member }) => member.peer),
      ),
    );
    return leaving;
  }

  get alive(): readonly ScalePeer[] {
    return this.peers.filter(({ isAlive }) => isAlive);
  }

  get ring(): Ring {
    return this.blocks.ring;
  }

  /** Blocks of which no peer that is alive has a copy. */
  lost(): number {
    const { alive } = this;
    return this.blocks.lost((ref) => alive.some(({ store }) => store.has(ref)));
  }

  /** All metadata, as a peer reads it. */
  snapshot(): Promise<ClusterSnapshot> {
    return this.admin.snapshot();
  }

  #newPeer(rack: number): ScalePeer {
    const { clock, blocks, meter, size, volumes } = this;
    const peer = new ScalePeer(this.peers.length + 1, rack, size, {
      clock,
      blocks,
      onPut: (_, bytes) => {
        this.movedBytes += bytes;
      },
      storeOf: (id) => this.#storeOf(id),
      upkeep: this.#shared.upkeep,
      heartbeat: this.#shared.heartbeat,
      view: () => this.#view as ClusterView,
      needed: new CountedInodes(volumes, blocks, meter),
    });
    this.peers.push(peer);
    this.#byId.set(peer.member.peer, peer);
    return peer;
  }

  #storeOf(id: PeerId): PeerStore {
    const peer = this.#byId.get(id);
    if (peer === undefined) throw new TorusError("unavailable", `there is no peer ${id}`);
    return peer.store;
  }

  /** Until they beat, and have read what they go by. */
  async #startAll(made: readonly ScalePeer[]): Promise<void> {
    for (const peer of made) await peer.start();
    await this.clock.advance(10_000);
  }

  async #change(next: (ring: RingDescription) => RingDescription): Promise<void> {
    const { rings } = this.admin;
    const current = await this.clock.run(rings.current());
    await this.clock.run(rings.change(current, next(current)));
    await this.clock.advance(10);
  }

  #ringChanged(): void {
    const { ring } = this.#view as ClusterView;
    this.#useRing(ring);
    this.clock.setTimer(followMs, () => void this.volumes.checkpoint(ring.version));
  }

  #useRing(ring: Ring): void {
    const has = (peer: PeerId, ref: BlockRef): boolean => this.#byId.get(peer)?.store.has(ref) ?? false;
    this.blocks.useRing(ring, has);
  }

  #checkpointLater(): void {
    this.clock.setTimer(checkpointEveryMs, () => {
      void this.volumes.checkpoint(this.ring.version).then(() => this.#checkpointLater());
    });
  }
}

function clockOf(clock: SimClock) {
  return {
    monotonicMs: () => clock.monotonicMs(),
    setTimer: (delayMs: number, callback: () => void) => clock.setTimer(delayMs, callback),
  };
}
