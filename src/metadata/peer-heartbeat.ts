// A peer's heartbeat: registers it, then renews its lease and its alive record every interval, as long as it runs. What
// fails is tried again at the next beat; a lease that ran out is replaced by a new one.

import type { Clock, Log, Timer } from "#host";
import { isTorusError, messageOf, type TorusError } from "#model";
import type { PeerRegistry } from "./peer-registry.ts";
import type { PeerAliveRecord, PeerRecord } from "./records.ts";

export interface PeerHeartbeatOptions {
  readonly ttlMs: number;
  readonly intervalMs: number;
}

export interface PeerHeartbeatDeps {
  readonly peers: PeerRegistry;
  readonly clock: Clock;
  readonly log: Log;
  /** What to say of the peer now. */
  readonly record: () => PeerRecord;
  readonly alive: () => PeerAliveRecord | Promise<PeerAliveRecord>;
  /** Another daemon with this peer id lives: this one must stop. Called at most once. */
  readonly onReplaced: (reason: string) => void;
}

export class PeerHeartbeat {
  readonly #options: PeerHeartbeatOptions;
  readonly #deps: PeerHeartbeatDeps;
  #lease = 0;
  #timer: Timer | null = null;
  #beating: Promise<void> | null = null;
  #failing = false;
  /** Of our last beat. */
  #incarnation = 0;
  /** Of a record that says this very incarnation lives, under another lease. */
  #doubleRevision = 0;
  #closed = false;

  constructor(options: PeerHeartbeatOptions, deps: PeerHeartbeatDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** The first beat; rejects when it fails, so that a daemon does not start unseen. */
  async start(): Promise<void> {
    await this.#beat();
    this.#schedule();
  }

  /** Takes the alive key away at once. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#beating;
    if (this.#lease === 0) return;
    try {
      await this.#deps.peers.stop(this.#lease);
    } catch (error) {
      this.#deps.log.warn("The peer's lease could not be given back; it will run out.", {
        reason: messageOf(error),
      });
    }
  }

  async #beat(): Promise<void> {
    const { peers, record, alive } = this.#deps;
    const now = record();
    await peers.register(now);
    if (this.#lease === 0) this.#lease = await peers.grantLease(this.#options.ttlMs);
    try {
      const record = await alive();
      this.#incarnation = record.incarnation;
      await peers.beat(now.peer, record, this.#lease);
      this.#doubleRevision = 0;
    } catch (error) {
      if (isTorusError(error, "not-found")) this.#lease = 0;
      throw error;
    }
  }

  /**
   * Metadata that went back may hold a heartbeat of ours under a lease that is not ours any more. Nobody renews it: it stays as it is, and goes with its
   * lease. What changes from beat to beat is another daemon.
   */
  #isOwnEcho({ details: { incarnation, revision } }: TorusError): boolean {
    if (incarnation !== this.#incarnation || typeof revision !== "number") return false;
    const isSame = this.#doubleRevision === 0 || this.#doubleRevision === revision;
    this.#doubleRevision = revision;
    return isSame;
  }

  #schedule(): void {
    if (this.#closed) return;
    // A lost lease is replaced at once, anything else waits for its turn.
    const delayMs =
      this.#failing && this.#lease === 0 ? this.#options.intervalMs / 4 : this.#options.intervalMs;
    this.#timer = this.#deps.clock.setTimer(delayMs, () => {
      this.#beating = this.#tick();
    });
  }

  async #tick(): Promise<void> {
    try {
      await this.#beat();
      if (this.#failing) this.#deps.log.info("The heartbeat reaches the metadata service again.");
      this.#failing = false;
    } catch (error) {
      if (isTorusError(error, "busy") && !this.#isOwnEcho(error)) {
        this.#closed = true;
        this.#deps.onReplaced(messageOf(error));
        return;
      }
      if (!this.#failing)
        this.#deps.log.warn("The heartbeat failed; trying again.", { reason: messageOf(error) });
      this.#failing = true;
    }
    this.#schedule();
  }
}
