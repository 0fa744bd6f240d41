// WritePace: slows writers down to what the pool gives back, as SpacePaceMachine says. It asks peers how much is free, a few of them at a time,
// and lets those who wait go on when their time has come.

import type { Clock, Log, Timer } from "#host";
import type { BlockStore, PeerId } from "#model";
import { messageOf, pageBytes } from "#model";
import type { ClusterView } from "./cluster-view.ts";
import type { FreeSpace, SpacePaceOptions } from "./space-pace-machine.ts";
import { SpacePaceMachine } from "./space-pace-machine.ts";

export interface WritePaceDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly view: Pick<ClusterView, "cluster" | "ring" | "fullest">;
  /** What may come back, in bytes. */
  readonly debtBytes: () => number;
  /** Who waited may go on. */
  readonly onRoom: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a log asks before it takes pages in. */
export interface Pace {
  /** Pages of new data that may go in now. */
  allowedPages(): number;
  took(pages: number): void;
}

/** Nobody is slowed down. */
export const noPace: Pace = { allowedPages: () => Number.POSITIVE_INFINITY, took: () => {} };

/** Peers asked at once: those that are full first. */
const askedMax = 4;
/** Who must wait is let go on in steps of this. */
const stepMs = 20;

export class WritePace implements Pace {
  readonly #deps: WritePaceDeps;
  readonly #machine: SpacePaceMachine;
  #timer: Timer | null = null;
  #asking = false;
  #closed = false;

  constructor(options: Omit<SpacePaceOptions, "blockBytes">, deps: WritePaceDeps) {
    this.#deps = deps;
    const { blockBytes } = deps.view.cluster;
    this.#machine = new SpacePaceMachine({ ...options, blockBytes }, deps.clock.monotonicMs());
  }

  /** How full the pool is for new data, 0 to 1, as far as peers have said. */
  get use(): number {
    return this.#machine.use;
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
    const { clock, debtBytes } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (this.#machine.wantsToKnow(nowMs)) void this.#ask();
    this.#machine.debtIs(debtBytes());
    const pages = Math.floor(this.#machine.allowance(nowMs) / pageBytes);
    if (pages === 0) this.#wait();
    return pages;
  }

  took(pages: number): void {
    this.#machine.wrote(pages * pageBytes);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #wait(): void {
    if (this.#timer !== null || this.#closed) return;
    this.#timer = this.#deps.clock.setTimer(stepMs, () => {
      this.#timer = null;
      this.#deps.onRoom();
    });
  }

  async #ask(): Promise<void> {
    if (this.#asking || this.#closed) return;
    this.#asking = true;
    const { view, clock } = this.#deps;
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
    this.#machine.learned(clock.monotonicMs(), { freeBytes, copyBytes });
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
