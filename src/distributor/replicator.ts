// Replicator: carries out what the WriteMachine decides. It sends appends, syncs and seals to the members' stores, feeds
// the answers back, and watches members that were lost: it asks them again until they answer, and tells its owner when one has
// been away too long to wait for. It decides nothing about ensembles: striking a member is the owner's transaction.

import type { Clock, Counter, Log, Metrics, Timer } from "#host";
import type { BlockRef, BlockStore, PeerId } from "#model";
import { isTorusError, messageOf } from "#model";
import type { WriteCommand } from "./write-block.ts";
import { WriteMachine } from "./write-machine.ts";

export interface ReplicatorOptions {
  readonly appendsInFlightMax: number;
  readonly appendBytesMax: number;
  /** How long nothing may be heard of a lost member before `onOverdue`: the silence counts that showed that it is lost. */
  readonly strikeAfterMs: number;
  readonly probeEveryMs: number;
}

/** A peer that is killed and started again at once is back within a second, and stays. */
export const replicatorDefaults: ReplicatorOptions = {
  appendsInFlightMax: 2,
  appendBytesMax: 2 * 1024 * 1024,
  strikeAfterMs: 1500,
  probeEveryMs: 100,
};

export interface ReplicatorDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What the owner is told. All are called synchronously from an answer or a timer. */
export interface ReplicatorListener {
  /** Positions may have moved, or a member can take more. */
  onProgress(): void;
  /** The peer has been away for `strikeAfterMs`, or contradicts what was sent: it should be struck. */
  onOverdue(peer: PeerId): void;
  /** A newer writer exists. */
  onFenced(message: string): void;
  /** A member has no space for new data; the append is tried again by itself. */
  onFull(peer: PeerId): void;
}

interface LostPeer {
  /** When it was lost; infinite for a full peer, which is never overdue. */
  sinceMs: number;
  overdue: boolean;
  timer: Timer | null;
}

export class Replicator {
  readonly machine: WriteMachine;
  readonly #options: ReplicatorOptions;
  readonly #deps: ReplicatorDeps;
  readonly #listener: ReplicatorListener;
  readonly #lost = new Map<PeerId, LostPeer>();
  readonly #appendedBytes: Counter;
  readonly #appends: Counter;
  readonly #syncs: Counter;
  readonly #lostPeers: Counter;
  /** Peers that came back and have not taken anything since: when they were first lost. */
  readonly #suspects = new Map<PeerId, number>();
  #closed = false;

  constructor(options: ReplicatorOptions, deps: ReplicatorDeps, listener: ReplicatorListener) {
    this.#options = options;
    this.#deps = deps;
    this.#listener = listener;
    this.machine = new WriteMachine(options);
    const { metrics } = deps;
    this.#appendedBytes = metrics.counter(
      "torus_distributor_appended_bytes_total",
      "Bytes sent to peers in appends, all copies",
    );
    this.#appends = metrics.counter("torus_distributor_appends_total", "Appends sent to peers");
    this.#syncs = metrics.counter("torus_distributor_syncs_total", "Syncs sent to peers");
    this.#lostPeers = metrics.counter(
      "torus_distributor_lost_peers_total",
      "Times a member of an open block was lost",
    );
  }

  /** Members that were lost and have not come back. */
  get lostPeers(): PeerId[] {
    return [...this.#lost.keys()];
  }

  isOverdue(peer: PeerId): boolean {
    return this.#lost.get(peer)?.overdue ?? false;
  }

  /** Sends whatever the machine has decided. */
  run(): void {
    if (this.#closed) return;
    for (const command of this.machine.commands()) this.#carryOut(command);
  }

  /** A struck peer is no member of anything any more: it is not watched here, and may be a member of later blocks. */
  release(peer: PeerId): void {
    if (this.machine.unsealedOf(peer).length > 0) return;
    this.#forget(peer);
    this.#suspects.delete(peer);
    this.machine.readmit(peer);
  }

  #forget(peer: PeerId): void {
    this.#lost.get(peer)?.timer?.cancel();
    this.#lost.delete(peer);
  }

  close(): void {
    this.#closed = true;
    for (const peer of this.lostPeers) this.#forget(peer);
  }

  #carryOut(command: WriteCommand): void {
    const { peer } = command;
    const generation = this.machine.generation(peer);
    let settled: Promise<void>;
    switch (command.kind) {
      case "append":
        settled = this.#append(command, generation);
        break;
      case "sync":
        settled = this.#sync(command, generation);
        break;
      case "seal":
        settled = this.#seal(command, generation);
        break;
    }
    settled.catch((error: unknown) => this.#failed(peer, generation, error));
  }

  async #append(command: WriteCommand & { kind: "append" }, generation: number): Promise<void> {
    const { peer, block, from, to } = command;
    this.#appends.add(1);
    this.#appendedBytes.add(to - from);
    const bytes = block.buffer.subarray(from, to);
    const progress = await this.#deps.storeOf(peer).append(block.ref, from, bytes, block.capacity);
    this.machine.appended(peer, generation, block, progress);
    this.#suspects.delete(peer);
    this.#listener.onProgress();
  }

  async #sync(command: WriteCommand & { kind: "sync" }, generation: number): Promise<void> {
    const { peer, blocks } = command;
    this.#syncs.add(1);
    const refs: BlockRef[] = blocks.map((block) => block.ref);
    const progress = await this.#deps.storeOf(peer).sync(refs);
    this.machine.synced(peer, generation, blocks, progress);
    this.#listener.onProgress();
  }

  async #seal(command: WriteCommand & { kind: "seal" }, generation: number): Promise<void> {
    const { peer, block } = command;
    await this.#deps.storeOf(peer).seal(block.ref, block.length, block.checksum);
    this.machine.sealed(peer, generation, block);
    this.#listener.onProgress();
  }

  #failed(peer: PeerId, generation: number, error: unknown): void {
    if (this.#closed || generation !== this.machine.generation(peer)) return;
    if (isTorusError(error, "fenced")) {
      this.#listener.onFenced(error.message);
      return;
    }
    this.machine.lost(peer);
    if (isTorusError(error, "full")) this.#listener.onFull(peer);
    else {
      this.#lostPeers.add(1);
      this.#deps.log.warn("lost a member of an open block", { peer, reason: messageOf(error) });
    }
    this.#watch(peer, error);
    this.#listener.onProgress();
  }

  /** Asks a lost peer again and again. A full one is not failed: it is never overdue. */
  #watch(peer: PeerId, error: unknown): void {
    const now = this.#deps.clock.monotonicMs();
    const known = this.#lost.get(peer);
    const state = known ?? { sinceMs: Number.POSITIVE_INFINITY, overdue: false, timer: null };
    const lostMs = this.#suspects.get(peer) ?? now - silentMsOf(error);
    if (!isTorusError(error, "full")) state.sinceMs = Math.min(state.sinceMs, lostMs);
    this.#lost.set(peer, state);
    state.timer?.cancel();
    if (now - state.sinceMs >= this.#options.strikeAfterMs && !state.overdue) this.#overdue(peer, state);
    if (this.#lost.get(peer) !== state) return;
    state.timer = this.#deps.clock.setTimer(this.#options.probeEveryMs, () => {
      state.timer = null;
      void this.#probe(peer, state);
    });
  }

  async #probe(peer: PeerId, state: LostPeer): Promise<void> {
    const overdueInMs = state.sinceMs + this.#options.strikeAfterMs - this.#deps.clock.monotonicMs();
    // A peer that hangs does not even refuse: the time runs while it is asked.
    const overdueTimer = Number.isFinite(overdueInMs)
      ? this.#deps.clock.setTimer(Math.max(0, overdueInMs), () => this.#overdue(peer, state))
      : null;
    try {
      const blocks = this.machine.unsealedOf(peer);
      const store = this.#deps.storeOf(peer);
      // A poisoned store refuses this and stays lost; a healthy one says how far it is on disk.
      await store.sync([]);
      const statuses = await store.stat(blocks.map((block) => block.ref));
      if (this.#closed || this.#lost.get(peer) !== state) return;
      if (!this.machine.back(peer, blocks, statuses)) {
        this.#deps.log.error("a peer holds other bytes than it was sent", { peer });
        this.#overdue(peer, state);
        return;
      }
      this.#forget(peer);
      // Back is not well yet: one that answers and refuses every append must be overdue in the end.
      if (Number.isFinite(state.sinceMs)) this.#suspects.set(peer, state.sinceMs);
      this.#deps.log.info("a lost member is back", { peer });
      this.#listener.onProgress();
    } catch (error) {
      if (this.#closed || this.#lost.get(peer) !== state) return;
      this.#deps.log.debug("a lost member does not answer", { peer, reason: messageOf(error) });
      if (this.#deps.clock.monotonicMs() - state.sinceMs >= this.#options.strikeAfterMs)
        this.#overdue(peer, state);
      this.#watch(peer, error);
    } finally {
      overdueTimer?.cancel();
    }
  }

  #overdue(peer: PeerId, state: LostPeer): void {
    if (this.#closed || this.#lost.get(peer) !== state) return;
    state.overdue = true;
    this.#listener.onOverdue(peer);
  }
}

/** How long nothing had been heard of a peer when `error` was made of that; 0 when it came at once. */
function silentMsOf(error: unknown): number {
  const silentMs = isTorusError(error) ? error.details["silentMs"] : 0;
  return typeof silentMs === "number" ? silentMs : 0;
}
