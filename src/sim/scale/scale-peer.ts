// ScalePeer: one of hundreds of peers: the real Upkeep and the real heartbeat, over a store that is a sample.

import type { Clock } from "#host";
import { Metrics } from "#host";
import type { ClusterMetadata } from "#metadata";
import { MetadataObserver, PeerHeartbeat } from "#metadata";
import type { PeerId, PeerStore } from "#model";
import { pageBytes } from "#model";
import type { RingMember } from "#ring";
import { noGuard, Upkeep, upkeepDefaults } from "#upkeep";
import type { ClusterView, NeededBlocks } from "#volume";
import { hasTail } from "#volume";
import type { SimClock } from "../clock.ts";
import { ProcessClock } from "../process-clock.ts";
import { SeededRandom } from "../random.ts";
import { quietLog } from "./quiet-log.ts";
import type { SampledBlocks } from "./sampled-blocks.ts";
import { SampledStore } from "./sampled-store.ts";
import type { ScaleSize } from "./size.ts";

export interface ScalePeerDeps {
  readonly clock: SimClock;
  readonly blocks: SampledBlocks;
  readonly onPut: (peer: PeerId, bytes: number) => void;
  readonly storeOf: (peer: PeerId) => PeerStore;
  /** For upkeep, and for heartbeats. */
  readonly upkeep: ClusterMetadata;
  readonly heartbeat: ClusterMetadata;
  readonly view: () => ClusterView;
  readonly needed: Pick<NeededBlocks, "walk">;
}

/** As torusd's. */
const heartbeat = { ttlMs: 10_000, intervalMs: 3000 };

const timerMsMin = 1000;

export class ScalePeer {
  readonly member: RingMember;
  readonly store: SampledStore;
  /** Bytes that came to it. */
  gotBytes = 0;
  readonly #size: ScaleSize;
  readonly #deps: ScalePeerDeps;
  readonly #clock: ProcessClock;
  readonly #random: SeededRandom;

  constructor(number: number, rack: number, size: ScaleSize, deps: ScalePeerDeps) {
    this.#size = size;
    this.#deps = deps;
    this.#random = new SeededRandom(size.seed, number);
    this.#clock = new ProcessClock({ rate: 1, wallJumpMs: 0 }, deps.clock);
    const labels = { rack: `r${rack}`, host: `h${number}` };
    this.member = { peer: this.#random.uuid(), weight: size.diskBytes, labels };
    this.store = new SampledStore(
      { peer: this.member.peer, sizeBytes: size.diskBytes, bytesPerSecond: size.diskBytesPerSecond },
      {
        clock: this.#clock,
        blocks: deps.blocks,
        onPut: (peer, ref, bytes) => {
          this.gotBytes += bytes;
          deps.blocks.came(peer, ref);
          deps.onPut(peer, bytes);
        },
      },
    );
  }

  get isAlive(): boolean {
    return this.#clock.alive;
  }

  get rack(): string {
    return this.member.labels["rack"];
  }

  /** Loses power: whoever asks it hears so at once. */
  kill(): void {
    this.store.isDown = true;
    this.#clock.kill();
  }

  async start(): Promise<void> {
    const { heartbeat: metadata } = this.#deps;
    const { peer, labels } = this.member;
    const upkeep = this.#upkeep();
    const clock = this.#clock;
    const observer = new MetadataObserver(
      { pauseMsMax: 1.5 * heartbeat.intervalMs },
      {
        adoption: metadata.adoption,
        // A store that has nothing to hold against the metadata.
        store: {
          peer,
          observe: () => "",
          testify: async () => ({ view: null, behind: "", asOfMs: 0, volumes: [], next: null }),
        },
        clock,
        log: quietLog,
      },
    );
    const beating = new PeerHeartbeat(heartbeat, {
      peers: metadata.peers,
      clock,
      log: quietLog,
      record: () => ({
        peer,
        address: `${labels["host"]}:4321`,
        sizeBytes: this.#size.diskBytes,
        labels,
        protocolVersion: 2,
      }),
      alive: async () => {
        await observer.look();
        const { usedBytes, blocks } = await this.store.usage();
        const { status, collected, scrub } = upkeep;
        const updatedMs = clock.wallMs();
        return {
          incarnation: 1,
          usedBytes,
          blocks,
          updatedMs,
          condition: "ok",
          upkeep: status,
          collected,
          scrub,
        };
      },
      onReplaced: () => {},
    });
    // Daemons are not started in the same moment.
    clock.setTimer((heartbeat.intervalMs * this.#random.uint32()) / 2 ** 32, () => {
      void beating.start().then(() => upkeep.start());
    });
  }

  #upkeep(): Upkeep {
    const { upkeep: metadata, view, storeOf, needed, blocks } = this.#deps;
    const { repairAfterMs } = this.#size;
    // Of each block, a page is sent for all it stands for.
    const repairBytesPerSecond = (this.#size.repairBytesPerSecond * pageBytes) / blocks.bytesPerBlock;
    return new Upkeep(
      { ...upkeepDefaults, repairBytesPerSecond, repairAfterMs },
      {
        store: this.store,
        metadata,
        view: view(),
        storeOf,
        guard: noGuard,
        scrubNote: { read: () => null, write: () => {} },
        scrubs: null,
        needed,
        tails: { hasTail, recoverTail: async () => {} },
        clock: unhurried(this.#clock),
        random: this.#random,
        log: quietLog,
        metrics: new Metrics(),
      },
    );
  }
}

/** Who waits for a budget looks ten times a second what is left of it; for the blocks of a sample, each of which takes minutes, once is enough. */
function unhurried(clock: Clock): Clock {
  return {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs(),
    setTimer: (delayMs, callback) =>
      clock.setTimer(delayMs === 0 ? 0 : Math.max(delayMs, timerMsMin), callback),
  };
}
