// SpaceKeeper: what a log does when peers have no space for new data [C16]. A full peer is not a failed one, so it is not struck; the log
// goes on from what the peers keep back for that: blocks already in the log, trims and cleaning, but no new data. It is asked now and
// then whether there is space again. Only when even the reserve is used up does everything fail that waits: of a volume that serves at once, of one that is
// being attached after a while, since several attach at the same time, and what the first of them have done with is on its way back.

import type { Clock, Log, Timer } from "#host";
import type { BlockStore, PeerId } from "#model";
import { messageOf, TorusError } from "#model";

export interface SpaceKeeperOptions {
  readonly blockBytes: number;
  /** How often full peers are asked for their usage. */
  readonly askEveryMs: number;
}

export interface SpaceKeeperDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  /** What writes wait for, "" when nothing. */
  readonly onCondition: (condition: string) => void;
  /** The volume is attached. */
  readonly isServing: () => boolean;
  /** Nothing that is not held will be. */
  readonly onExhausted: (error: TorusError) => void;
  /** What may be appended is another: everything, or only what frees space, or nothing. */
  readonly onChange: (isFull: boolean) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** An attach waits so long for space before it fails. */
export const attachFullPatienceMs = 30_000;

/** Blocks that must fit before new data is taken again. */
const spaceBlocksMin = 2;

export class SpaceKeeper {
  readonly #options: SpaceKeeperOptions;
  readonly #deps: SpaceKeeperDeps;
  /** Peers without space, and how much they had in use when they were asked last. */
  readonly #full = new Map<PeerId, number>();
  #returns = 0;
  /** Since when some peer was full without a break. */
  #sinceMs = 0;
  /** Held position at which a peer refused even the reserve, or -1. */
  #exhaustedAt = -1;
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: SpaceKeeperOptions, deps: SpaceKeeperDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Some peer has no space for new data. */
  get isFull(): boolean {
    return this.#full.size > 0;
  }

  /** How often a full peer was found with less in use than before: what died there was collected. */
  get returns(): number {
    return this.#returns;
  }

  /** Why not even what frees space can be written; null while it can. */
  get exhaustion(): TorusError | null {
    if (this.#exhaustedAt < 0) return null;
    const [peer] = this.#full.keys();
    return new TorusError("full", `peer ${peer} has no space for new data`);
  }

  /** What writes wait for, "" when nothing. */
  get condition(): string {
    const [peer] = this.#full.keys();
    if (peer === undefined) return "";
    const what = this.#exhaustedAt < 0 ? "has no space for new data" : "is full";
    return `peer ${peer} ${what}: add space or peers, or delete data`;
  }

  /** `peer` refused an append; the log is held up to `held`. It is sent again by itself. */
  refused(peer: PeerId, held: number): void {
    const { log, onCondition, onExhausted, onChange } = this.#deps;
    if (!this.#full.has(peer)) {
      if (!this.isFull) this.#sinceMs = this.#deps.clock.monotonicMs();
      this.#full.set(peer, Number.POSITIVE_INFINITY);
      log.warn("a peer is full; new data is refused until it has space", { peer });
      if (this.#timer === null) this.#schedule();
    } else if (this.#exhaustedAt < 0 && !this.#isPatient) {
      this.#exhaustedAt = held;
      log.warn("a peer has not even reserved space left; whatever writes fails", { peer });
    }
    onCondition(this.condition);
    const { exhaustion } = this;
    if (exhaustion !== null) onExhausted(exhaustion);
    onChange(true);
  }

  get #isPatient(): boolean {
    const { isServing, clock } = this.#deps;
    return !isServing() && clock.monotonicMs() - this.#sinceMs < attachFullPatienceMs;
  }

  /** The log is held up to `held`: further than when the reserve was used up means that there is some of it again. */
  advanced(held: number): void {
    if (this.#exhaustedAt < 0 || held <= this.#exhaustedAt) return;
    this.#exhaustedAt = -1;
    this.#deps.onCondition(this.condition);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer = this.#deps.clock.setTimer(this.#options.askEveryMs, () => void this.#ask());
  }

  async #ask(): Promise<void> {
    const { storeOf, onCondition, onChange, log } = this.#deps;
    const enoughBytes = spaceBlocksMin * this.#options.blockBytes;
    for (const [peer, usedBefore] of [...this.#full]) {
      try {
        const { availableBytes, usedBytes } = await storeOf(peer).usage();
        if (usedBytes < usedBefore && usedBefore !== Number.POSITIVE_INFINITY) this.#returns += 1;
        if (availableBytes < enoughBytes) {
          this.#full.set(peer, usedBytes);
          continue;
        }
        log.info("a peer that was full has space again", { peer, availableBytes });
      } catch (error) {
        // Who does not answer is the business of the ensemble; if it is still full when it is back, it will say so.
        log.debug("a full peer does not answer", { peer, reason: messageOf(error) });
      }
      this.#full.delete(peer);
    }
    this.#timer = null;
    if (this.#closed) return;
    if (this.isFull) {
      this.#schedule();
      return;
    }
    this.#exhaustedAt = -1;
    onCondition("");
    onChange(false);
  }
}
