// SimPeer: one disk and, while it runs, the process that serves it: the real store on the simulated drive, behind the real
// server on the simulated network. It can be killed (its drive keeps what was written) or lose power (what was not durable is
// kept or lost sector by sector), and is started again as an init system would: also when its store is poisoned. Its disk can rot, and be
// replaced by an empty one, which makes it another peer.

import type { Clock, Disk } from "#host";
import { Metrics } from "#host";
import type { ObservedStore } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { isTorusError, messageOf } from "#model";
import { PeerServer } from "#peer";
import { DiskStore } from "#storage";
import type { UpkeepOptions } from "#upkeep";
import { SimulatedDrive } from "./disk.ts";
import type { SimMetadata } from "./metadata.ts";
import type { UpkeepSeams } from "./peer-upkeep.ts";
import { lookMsMax, SimOwnStore, SimPeerUpkeep } from "./peer-upkeep.ts";
import { ProcessClock } from "./process-clock.ts";
import type { SpaceChecker } from "./space-checker.ts";
import { Witness } from "./witness.ts";
import type { World } from "./world.ts";

export interface SimPeerOptions {
  /** Of its machine: p1, p2, ... */
  readonly name: string;
  readonly clusterId: string;
  readonly blockBytes: number;
  readonly storeBytes: number;
  readonly asideBytesMin: number;
  readonly flushMsMin: number;
  readonly flushMsMax: number;
  readonly clockRate: number;
  /** How it keeps itself up; null: not at all. */
  readonly upkeep: UpkeepOptions | null;
  /** It looks whether the metadata went back. */
  readonly observes: boolean;
  /** Its upkeep recovers what writers leave behind. */
  readonly recoversTails: boolean;
}

/** Where a canary puts itself between the parts of a peer. */
export interface PeerSeams {
  readonly disk?: (disk: Disk, peer: SimPeer) => Disk;
  readonly store?: (store: BlockStore, peer: SimPeer) => BlockStore;
  readonly upkeep?: UpkeepSeams;
  readonly observed?: (store: ObservedStore) => ObservedStore;
  /** The witness is told nothing, so that only what clients see counts. */
  readonly unwitnessed?: boolean;
}

export const peerPort = 7000;
const restartMs = 500;
const dataFileName = "blocks.torus";
const scrubName = "scrub.json";
/** A store leaves the file system some room, and may be given more: so much is there that it never lacks it. */
const spareBytes = 4 * 2 ** 30;

export class SimPeer {
  readonly options: SimPeerOptions;
  readonly world: World;
  readonly #metadata: SimMetadata;
  readonly #space: SpaceChecker;
  /** Pages whose bits were flipped, by block. */
  readonly rotten = new Map<string, Set<number>>();
  /** By how much more its disk takes for an fdatasync. */
  slowMs = 0;
  readonly #seams: PeerSeams;
  #drive: SimulatedDrive;
  #witness: Witness;
  #storeBytes: number;
  #clock: ProcessClock;
  #store: DiskStore | null = null;
  #id: PeerId | null = null;
  #lives = 0;
  #disks = 0;
  #calm = false;

  constructor(
    options: SimPeerOptions,
    seams: PeerSeams,
    deps: { readonly world: World; readonly metadata: SimMetadata; readonly space: SpaceChecker },
  ) {
    const { world } = deps;
    this.options = options;
    this.world = world;
    this.#metadata = deps.metadata;
    this.#space = deps.space;
    this.#seams = seams;
    this.#storeBytes = options.storeBytes;
    this.#clock = this.#newClock();
    this.#drive = this.#newDrive();
    this.#witness = new Witness(options.name, world);
  }

  get name(): string {
    return this.options.name;
  }

  get drive(): SimulatedDrive {
    return this.#drive;
  }

  /** Known once it was started; "" before, also after its disk was replaced. */
  get id(): PeerId {
    return this.#id ?? "";
  }

  get clock(): ProcessClock {
    return this.#clock;
  }

  /** While it serves. */
  get store(): DiskStore | null {
    return this.#store;
  }

  /** The same, as it is asked what it has seen of the metadata. */
  get observed(): ObservedStore | null {
    return this.#store === null ? null : this.#observed(this.#store);
  }

  #observed(store: DiskStore): ObservedStore {
    return this.#seams.observed?.(store) ?? store;
  }

  get isRunning(): boolean {
    return this.#clock.alive;
  }

  /** `storeBytes`: what the store may take of the disk from now on. */
  async start(storeBytes = this.#storeBytes): Promise<void> {
    const { world } = this;
    this.#storeBytes = storeBytes;
    this.#lives += 1;
    const clock = this.#newClock();
    this.#clock = clock;
    world.trace.add(this.name, `starts, life ${this.#lives}`);
    try {
      await this.#serve(clock);
    } catch (error) {
      if (!clock.alive) return;
      const expected = isTorusError(error, "poisoned", "io", "full");
      if (!expected) world.violateBy(error, `${this.name} does not start`);
      world.trace.add(this.name, `could not start: ${messageOf(error)}`);
      this.#restartSoon(clock);
    }
  }

  async #serve(clock: ProcessClock): Promise<void> {
    const { world } = this;
    const { blockBytes, clusterId } = this.options;
    const log = world.log(this.name);
    const metrics = new Metrics();
    const mounted = this.#drive.mount();
    let server: PeerServer | null = null;
    const store = await DiskStore.open(
      {
        ...{ blockBytes, sizeBytes: this.#storeBytes, asideBytesMin: this.options.asideBytesMin },
        ...(this.options.observes ? { lookMsMax } : {}),
      },
      {
        disk: this.#seams.disk?.(mounted, this) ?? mounted,
        clock,
        random: world.random(`store ${this.name} ${this.#lives}`),
        log,
        metrics,
        onPoisoned: (error) => {
          server?.fail(error.message);
          this.#restartSoon(clock);
        },
      },
    );
    this.#id = store.peer;
    const seamed = this.#seams.store?.(store, this) ?? store;
    if (this.#seams.unwitnessed !== true) await this.#witness.check(seamed, (key) => this.rotten.has(key));
    const shown = this.#seams.unwitnessed === true ? seamed : this.#witness.watch(seamed);
    const upkeep = this.#upkeepOf(shown, store, mounted, clock);
    server = new PeerServer(
      { clusterId, incarnation: store.incarnation, address: { host: this.name, port: peerPort } },
      {
        witness: store,
        store: shown,
        ...(upkeep === null ? {} : { confirmer: upkeep }),
        listen: world.network.machine(this.name).listen,
        clock,
        log,
        metrics,
      },
    );
    if (!clock.alive) return;
    await server.start();
    if (store.poison !== null) server.fail(store.poison.message);
    this.#store = store;
    upkeep?.start();
  }

  #upkeepOf(shown: BlockStore, store: DiskStore, disk: Disk, clock: ProcessClock): SimPeerUpkeep | null {
    const { upkeep, name, clusterId, observes, recoversTails } = this.options;
    if (upkeep === null) return null;
    const { incarnation } = store;
    return new SimPeerUpkeep(
      {
        name,
        clusterId,
        upkeep,
        address: `${name}:${peerPort}`,
        sizeBytes: this.#storeBytes,
        recoversTails,
      },
      {
        world: this.world,
        metadata: this.#metadata,
        space: this.#space,
        clock,
        store: new SimOwnStore(shown, store, this.#witness),
        observed: observes ? this.#observed(store) : null,
        isBehind: () => store.behind !== "",
        incarnation,
        scrubNote: {
          read: () => disk.readText(scrubName),
          write: (text) => disk.writeTextDurably(scrubName, text),
        },
        seams: this.#seams.upkeep ?? {},
      },
    );
  }

  /** The process ends; with `power` the whole machine does, and nobody is told. */
  crash(power: boolean): void {
    if (!this.#clock.alive) return;
    this.world.trace.add(this.name, power ? "loses power" : "is killed");
    this.#store = null;
    this.#clock.kill();
    this.world.network.resume(this.name);
    this.world.network.crash(this.name, { silent: power });
    if (power) this.#drive.cutPower();
    else this.#drive.killProcess();
  }

  /** Takes its disk out and puts an empty one in; it must not run. Started again it is another peer. */
  replaceDisk(): void {
    this.world.trace.add(this.name, "has a new disk");
    this.rotten.clear();
    this.#drive = this.#newDrive();
    this.#witness = new Witness(this.name, this.world);
    this.#id = null;
  }

  /** Flips bit `bit` of the byte at `offset` of the file with its blocks. */
  flipBit(offset: number, bit: number): void {
    this.#drive.rot(dataFileName, offset, 1 << bit);
  }

  /** SIGSTOP, and what came due meanwhile at once when it goes on. */
  stop(suspend: boolean): void {
    this.#clock.stop({ suspend });
    this.world.network.pause(this.name);
  }

  proceed(): void {
    this.#clock.proceed();
    this.world.network.resume(this.name);
  }

  /** It runs from now on, whatever happened to it. */
  calm(): void {
    this.#calm = true;
    this.slowMs = 0;
    if (this.#clock.stopped) this.proceed();
    if (!this.#clock.alive || this.#store?.poison != null) {
      this.crash(false);
      void this.start();
    }
  }

  get isCalm(): boolean {
    return this.#calm;
  }

  #restartSoon(clock: ProcessClock): void {
    this.world.clock.setTimer(restartMs, () => {
      if (this.#clock !== clock || !clock.alive) return;
      this.crash(false);
      void this.start();
    });
  }

  #newDrive(): SimulatedDrive {
    this.#disks += 1;
    const { name, storeBytes, flushMsMin, flushMsMax } = this.options;
    const random = this.world.random(`drive ${name} ${this.#disks}`);
    const flushMs = (): number =>
      this.slowMs + flushMsMin + ((flushMsMax - flushMsMin) * random.uint32()) / 2 ** 32;
    const clock: Clock = {
      monotonicMs: () => this.#clock.monotonicMs(),
      wallMs: () => this.#clock.wallMs(),
      setTimer: (delayMs, callback) => this.#clock.setTimer(delayMs, callback),
    };
    return new SimulatedDrive({ capacityBytes: storeBytes + spareBytes, flushMs }, { random, clock });
  }

  #newClock(): ProcessClock {
    return new ProcessClock({ rate: this.options.clockRate, wallJumpMs: 0 }, this.world.clock);
  }
}
