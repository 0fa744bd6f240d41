// WritePace: slows writers down to what the pool gives back, as SpacePaceMachine says. It asks peers how much is free, a few of them at a time,
// and lets those who wait go on when their time has come.

import type { Clock, Counter, Log, Metrics, Timer } from "#host";
import type { BlockStore, PeerId } from "#model";
import { messageOf, pageBytes } from "#model";
import type { ClusterView, PoolUse } from "./cluster-view.ts";
import type { FreeSpace, SpacePaceOptions } from "./space-pace-machine.ts";
import { SpacePaceMachine } from "./space-pace-machine.ts";

export interface WritePaceOptions extends Omit<SpacePaceOptions, "blockBytes"> {
  /** On a full pool so long is waited for space that is on its way. */
  readonly fullPatienceMs: number;
}

export interface WritePaceDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly view: Pick<ClusterView, "cluster" | "ring" | "fullest">;
  /** What may come back, in bytes. */
  readonly debtBytes: () => number;
  /** Length of the log. */
  readonly logBytes: () => number;
  /** Who waited may go on. */
  readonly onRoom: () => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What a log asks before it takes pages in. */
export interface Pace {
  /** Pages of new data that may go in now. */
  allowedPages(): number;
  took(pages: number): void;
  /** Some peer is full: true when new data waits for the space that is on its way, false when it is refused. */
  awaitsSpace(): boolean;
}

/** Nobody is slowed down. */
export const noPace: Pace = {
  allowedPages: () => Number.POSITIVE_INFINITY,
  took: () => {},
  awaitsSpace: () => false,
};

/** Peers asked at once: those that are full first. */
const askedMax = 4;
/** Who must wait is let go on in steps of this. */
const stepMs = 20;
/** Not asked for so long means that it was not full meanwhile. */
const fullGapMs = 1000;

export class WritePace implements Pace {
  readonly #options: WritePaceOptions;
  readonly #deps: WritePaceDeps;
  readonly #machine: SpacePaceMachine;
  readonly #heldBack: Counter;
  #timer: Timer | null = null;
  /** Since when the pool is full, and when that was last asked. */
  #fullMs = 0;
  #askedFullMs = Number.NEGATIVE_INFINITY;
  #asking = false;
  #closed = false;

  constructor(options: WritePaceOptions, deps: WritePaceDeps) {
    this.#options = options;
    this.#deps = deps;
    const { blockBytes } = deps.view.cluster;
    this.#machine = new SpacePaceMachine({ ...options, blockBytes }, deps.clock.monotonicMs());
    this.#heldBack = deps.metrics.counter(
      "torus_volume_held_back_seconds_total",
      "For how long writes waited because the pool is nearly full and space was on its way",
    );
  }

  /** How full the pool is for new data, and how much it has room for, as far as peers have said: 0 when they have not. */
  get pool(): PoolUse {
    const { use, copyBytes } = this.#machine;
    return { use, copyBytes };
  }

  /** A writer that runs ahead may meet the end. */
  get isTight(): boolean {
    return this.#machine.isTight;
  }

  /** Writers are slowed down now. */
  get isSlow(): boolean {
    return this.#machine.isSlow;
  }

  allowedPages(): number {
    const { clock, debtBytes, logBytes } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (this.#machine.wantsToKnow(nowMs)) void this.#ask();
    this.#machine.debtIs(debtBytes());
    this.#machine.logIs(logBytes());
    const pages = Math.floor(this.#machine.allowance(nowMs) / pageBytes);
    if (pages === 0) this.#wait();
    return pages;
  }

  /** Asked whenever there is something to decide, so what was full a while ago is not full any more when nobody asked. */
  awaitsSpace(): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#deps.debtBytes() === 0) return false;
    if (nowMs - this.#askedFullMs > fullGapMs) this.#fullMs = nowMs;
    this.#askedFullMs = nowMs;
    if (nowMs - this.#fullMs > this.#options.fullPatienceMs) return false;
    this.#wait();
    return true;
  }

  took(pages: number): void {
    this.#machine.took(pages * pageBytes);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #wait(): void {
    if (this.#timer !== null || this.#closed) return;
    this.#timer = this.#deps.clock.setTimer(stepMs, () => {
      this.#timer = null;
      this.#heldBack.add(stepMs / 1000);
      this.#deps.onRoom();
    });
  }

  async #ask(): Promise<void> {
    if (this.#asking || this.#closed) return;
    this.#asking = true;
    const { view, clock, logBytes } = this.#deps;
    const askedAt = logBytes();
    const answers = await Promise.all(
      view
        .fullest()
        .slice(0, askedMax)
        .map((peer) => this.#askPeer(peer)),
    );
    this.#asking = false;
    const known = answers.filter((answer) => answer !== null);
    if (known.length === 0) this.#machine.failed(clock.monotonicMs());
    if (known.length === 0 || this.#closed) return;
    const freeBytes = Math.min(...known.map((answer) => answer.freeBytes));
    const copyBytes = Math.min(...known.map((answer) => answer.copyBytes));
    this.#machine.learned(clock.monotonicMs(), { freeBytes, copyBytes }, askedAt);
  }

  /** What there is for a log when `peer` is the first to be full: its share of the log is that of its weight. */
  async #askPeer(peer: PeerId): Promise<FreeSpace | null> {
    const { storeOf, view, log } = this.#deps;
    const { members, replicas } = view.ring.parts?.new ?? view.ring;
    const weight = members.find((member) => member.peer === peer)?.weight ?? 0;
    if (weight === 0) return null;
    const factor = members.reduce((sum, member) => sum + member.weight, 0) / (weight * replicas);
    try {
      const { availableBytes, usedBytes, sizeBytes } = await storeOf(peer).usage();
      // What it keeps back counts neither as free nor as room.
      const roomBytes = Math.min(sizeBytes, usedBytes + availableBytes);
      return { freeBytes: availableBytes * factor, copyBytes: roomBytes * factor };
    } catch (error) {
      log.debug("a peer does not say what is free", { peer, reason: messageOf(error) });
      return null;
    }
  }
}
