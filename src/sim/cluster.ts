// SimCluster: a whole cluster in this thread, as a plan says: peers, clients, the metadata service, and the models that judge what
// clients see. It is set up as an operator would, before anything goes wrong.

import type { AdoptionPlan, Change, CutRecord } from "#metadata";
import { ClusterMetadata } from "#metadata";
import { assert, isTorusError } from "#model";
import { addMembers } from "#ring";
import { hasTail } from "#volume";
import type { ClientSeams } from "./client.ts";
import { SimClient } from "./client.ts";
import { EpochChecker } from "./epoch-checker.ts";
import type { CommitListener } from "./metadata.ts";
import { SimMetadata } from "./metadata.ts";
import type { PeerSeams } from "./peer.ts";
import { peerPort, SimPeer } from "./peer.ts";
import { checkSettled } from "./placement-checker.ts";
import type { Plan } from "./plan.ts";
import { ScratchVolumes } from "./scratch-volumes.ts";
import { volumeBytes } from "./session.ts";
import { SpaceChecker } from "./space-checker.ts";
import { unitBytes } from "./unit-content.ts";
import { deleteVolume } from "./volume-deletion.ts";
import { VolumeModel } from "./volume-model.ts";
import type { World } from "./world.ts";

/** What a canary breaks. */
export interface Breakage {
  readonly peer?: PeerSeams;
  readonly client?: ClientSeams;
  /** Called each simulated second, for what breaks by itself. */
  readonly tick?: (cluster: SimCluster) => void;
  /** Nobody recovers tails. */
  readonly tailsLeft?: boolean;
  /** What of a plan is carried out when metadata is adopted. */
  readonly adoption?: (plan: AdoptionPlan) => AdoptionPlan;
  /** People adopt a backup that they put back only if some peer has noticed. */
  readonly onlyIfNoticed?: boolean;
}

const setUpMsMax = 10_000;

export class SimCluster {
  readonly plan: Plan;
  readonly world: World;
  readonly metadata: SimMetadata;
  /** An operator's way in, which nothing troubles. */
  readonly admin: ClusterMetadata;
  readonly peers: SimPeer[] = [];
  readonly clients: SimClient[] = [];
  readonly models: VolumeModel[] = [];
  readonly scratch = new ScratchVolumes(this);
  readonly space = new SpaceChecker(this);
  /** Told of every transaction that took effect. */
  onCommit: CommitListener = () => {};
  readonly epochs: EpochChecker;
  /** People keep every client stopped. */
  areClientsStopped = false;
  /** Volumes that are being deleted, because nobody can have them any more. */
  deletions = 0;
  readonly #breakage: Breakage;
  #clusterId = "";

  private constructor(plan: Plan, breakage: Breakage, world: World) {
    this.plan = plan;
    this.world = world;
    this.#breakage = breakage;
    const epochs = new EpochChecker(world);
    this.epochs = epochs;
    this.metadata = new SimMetadata(
      { latencyMsMax: plan.latencyMsMax, troubleOneIn: plan.metadataTroubleOneIn },
      world,
      (client: string, changes: readonly Change[]) => {
        epochs.committed(client, changes);
        if (changes.some(({ key }) => key === "ring")) this.#ringChanged();
        this.onCommit(client, changes);
      },
    );
    const deps = { clock: wholeWall(world), random: world.random("admin"), log: world.log("admin") };
    this.admin = new ClusterMetadata(this.metadata.admin(), deps);
  }

  static async open(plan: Plan, breakage: Breakage, world: World): Promise<SimCluster> {
    const cluster = new SimCluster(plan, breakage, world);
    await world.clock.run(cluster.#setUp(), setUpMsMax);
    return cluster;
  }

  get adoption(): (plan: AdoptionPlan) => AdoptionPlan {
    return this.#breakage.adoption ?? ((plan) => plan);
  }

  get onlyIfNoticed(): boolean {
    return this.#breakage.onlyIfNoticed ?? false;
  }

  peer(name: string): SimPeer {
    const found = this.peers.find((peer) => peer.name === name);
    assert(found !== undefined, `there is a peer ${name}`);
    return found;
  }

  machine(name: string): SimPeer | SimClient {
    return this.clients.find((client) => client.name === name) ?? this.peer(name);
  }

  member(peer: SimPeer): { peer: string; weight: number; labels: Record<string, string> } {
    return { peer: peer.id, weight: 1, labels: { host: peer.name } };
  }

  /** Says to the cluster where `peer` is, as it would itself. */
  async register(peer: SimPeer): Promise<void> {
    await this.admin.peers.register({
      peer: peer.id,
      address: `${peer.name}:${peerPort}`,
      sizeBytes: this.plan.storeBytes,
      labels: { host: peer.name },
      protocolVersion: 1,
    });
  }

  /** The operator gives every store more room. */
  grow(storeBytes: number): void {
    this.world.trace.add("operator", "gives every store more room");
    for (const peer of this.peers) {
      peer.crash(false);
      void peer.start(storeBytes);
    }
  }

  /** Names of volumes that nobody has attached and whose log has a tail that can be recovered. */
  async tails(): Promise<string[]> {
    const { volumes } = await this.admin.volumes.list();
    const gone = this.models.filter(({ mayBeGone }) => mayBeGone).map(({ name }) => name);
    return volumes
      .filter((state) => state.lease === null && hasTail(state) && !gone.includes(state.spec.name))
      .map(({ spec }) => spec.name);
  }

  /** A client that is in no plan. */
  newClient(name: string, seams: ClientSeams = this.#breakage.client ?? {}): SimClient {
    const { plan, world, metadata, models } = this;
    return new SimClient(
      {
        name,
        clusterId: this.#clusterId,
        leaseTtlMs: plan.leaseTtlMs,
        clockRate: plan.clockRates[name] ?? 1,
        workload: plan.workload,
        cleaning: plan.cleaning,
        writeCacheBytes: plan.writeCacheBytes,
        mapCacheBytes: plan.mapCacheBytes,
        readCacheBytes: plan.readCacheBytes,
        tuning: plan.tuning,
      },
      seams,
      {
        world,
        metadata,
        models,
        acceptLoss: (volume, cut) => this.#acceptLoss(volume, cut),
        giveUp: (model) => this.#giveUp(model),
      },
    );
  }

  /** A volume that cannot be had as of the backup is deleted. */
  #giveUp(model: VolumeModel): void {
    const { models, world } = this;
    models.splice(models.indexOf(model), 1);
    this.deletions += 1;
    deleteVolume(model.name, this).then(
      () => {
        this.deletions -= 1;
      },
      (error: unknown) => world.violateBy(error, "deleting a volume"),
    );
  }

  async #acceptLoss(volume: string, cut: CutRecord): Promise<void> {
    const { volumes } = this.admin;
    try {
      await volumes.acceptLoss(await volumes.find(volume), cut);
    } catch (error) {
      // A newer attach cut off whoever was left: that is another loss.
      if (!isTorusError(error, "conflict")) throw error;
    }
  }

  async #setUp(): Promise<void> {
    const { plan, admin, world } = this;
    const { blockBytes, replicas } = plan;
    const cluster = await admin.init({
      blockBytes,
      ring: { version: 1, type: "empty", replicas, members: [] },
    });
    this.#clusterId = cluster.clusterId;
    for (let i = 1; i <= plan.peers + plan.spares; i++) {
      const peer = this.#newPeer(`p${i}`);
      this.peers.push(peer);
      await peer.start();
      await this.register(peer);
    }
    const members = this.peers.slice(0, plan.peers).map((peer) => this.member(peer));
    const current = await admin.rings.current();
    await admin.rings.change(current, addMembers(current, members));
    for (const { name, pages, acknowledge } of plan.volumes) {
      const sizeBytes = volumeBytes(pages);
      const minReplicas = Math.min(2, replicas);
      const { id } = await admin.volumes.create({ name, sizeBytes, acknowledge, minReplicas });
      const model = new VolumeModel(
        { name, volume: id, isReplicated: acknowledge === "replicated" },
        {
          nowMs: () => world.clock.monotonicMs(),
          violate: (rule, message) => world.violate(rule, message),
        },
      );
      model.units = sizeBytes / unitBytes;
      this.models.push(model);
    }
    for (let i = 1; i <= plan.clients; i++) this.clients.push(this.newClient(`c${i}`));
  }

  #ringChanged(): void {
    const { world, plan } = this;
    if (plan.upkeep === null || this.#clusterId === "") return;
    world.clock.setTimer(0, () => {
      checkSettled(this).catch((error: unknown) => world.violateBy(error, "the placement checker"));
    });
  }

  #newPeer(name: string): SimPeer {
    const { plan, world } = this;
    return new SimPeer(
      {
        name,
        clusterId: this.#clusterId,
        blockBytes: plan.blockBytes,
        storeBytes: plan.storeBytes,
        asideBytesMin: plan.asideBytesMin,
        flushMsMin: 0.1,
        flushMsMax: plan.flushMsMax,
        clockRate: plan.clockRates[name] ?? 1,
        upkeep: plan.upkeep,
        observes: plan.kinds.includes("metadata-back"),
        recoversTails: plan.tailsAfterMs !== null && this.#breakage.tailsLeft !== true,
      },
      this.#breakage.peer ?? {},
      { world, metadata: this.metadata, space: this.space },
    );
  }
}

/** Records keep whole milliseconds. */
function wholeWall({ clock }: World): {
  monotonicMs(): number;
  wallMs(): number;
  setTimer: typeof clock.setTimer;
} {
  return {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => Math.floor(clock.wallMs()),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
  };
}
