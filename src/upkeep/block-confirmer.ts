// BlockConfirmer: answers for this peer's own copies when another is about to delete its. It confirms by the ring version
// asked about and no other, only blocks that are its own in it, and only copies it has read back from the disk [C4, C8].
//
// The last look (ring version, state of each block) is in the turn in which the answer is given; what took time before, reading
// back, is remembered for a while, and forgotten altogether when any read fails: a disk that lies once is asked again.

import type { Clock } from "#host";
import { sleep } from "#host";
import type { BlockRef, BlockStatus, Confirmation, ConfirmReport } from "#model";
import { blockRefKey } from "#model";
import type { Ring } from "#ring";
import type { OwnStore } from "./own-store.ts";
import type { Pacer } from "./pacer.ts";
import { isDesired } from "./reconcile-machine.ts";

export interface BlockConfirmerOptions {
  readonly verifiedForMs: number;
}

export interface BlockConfirmerDeps {
  readonly store: OwnStore;
  readonly pacer: Pacer;
  /** In force here. */
  readonly ring: () => Ring;
  readonly clock: Clock;
}

/** Reading back stops after this long, well before the asker gives up; the rest is for its next question. */
const readBackMsMax = 1500;
const rememberedMax = 65_536;

interface Verified {
  readonly length: number;
  readonly checksum: number;
  readonly untilMs: number;
}

const lacking: Confirmation = { verdict: "lacking", length: 0, checksum: 0 };
const later: Confirmation = { verdict: "later", length: 0, checksum: 0 };

export class BlockConfirmer {
  readonly #options: BlockConfirmerOptions;
  readonly #deps: BlockConfirmerDeps;
  readonly #verified = new Map<string, Verified>();

  constructor(options: BlockConfirmerOptions, deps: BlockConfirmerDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  async confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    const failed = await this.#readBack(ringVersion, refs);
    const statuses = await this.#deps.store.stat(refs);
    // Nothing is awaited from here on.
    const ring = this.#deps.ring();
    const blocks = statuses.map((status): Confirmation => {
      if (ring.version !== ringVersion || !this.#isCandidate(ring, status)) return lacking;
      if (failed.has(blockRefKey(status.ref))) return lacking;
      if (!this.#isVerified(status)) return later;
      return { verdict: "confirmed", length: status.held, checksum: status.checksum };
    });
    return { ringVersion: ring.version, blocks };
  }

  /** Verifies, as far as time allows, what could be confirmed. Returns the keys of copies that are not what they should be. */
  async #readBack(ringVersion: number, refs: readonly BlockRef[]): Promise<ReadonlySet<string>> {
    const { store, ring, clock, pacer } = this.#deps;
    const failed = new Set<string>();
    const endMs = clock.monotonicMs() + readBackMsMax;
    for (const status of await store.stat(refs)) {
      if (ring().version !== ringVersion) break;
      if (!this.#isCandidate(ring(), status) || this.#isVerified(status)) continue;
      await pacer.take(status.held);
      if (clock.monotonicMs() >= endMs) break;
      if ((await store.verify(status.ref)) === true) this.#remember(status);
      else {
        failed.add(blockRefKey(status.ref));
        this.#verified.clear();
      }
      // The disk is read synchronously: let the peer serve in between.
      await sleep(clock, 0);
    }
    return failed;
  }

  #isCandidate(ring: Ring, status: BlockStatus): boolean {
    return status.state === "sealed" && isDesired(ring, status.ref, this.#deps.store.peer);
  }

  #isVerified({ ref, held, checksum }: BlockStatus): boolean {
    const known = this.#verified.get(blockRefKey(ref));
    return (
      known !== undefined &&
      known.length === held &&
      known.checksum === checksum &&
      known.untilMs > this.#deps.clock.monotonicMs()
    );
  }

  #remember({ ref, held, checksum }: BlockStatus): void {
    const key = blockRefKey(ref);
    const untilMs = this.#deps.clock.monotonicMs() + this.#options.verifiedForMs;
    this.#verified.delete(key);
    this.#verified.set(key, { length: held, checksum, untilMs });
    if (this.#verified.size <= rememberedMax) return;
    const [oldest] = this.#verified.keys();
    this.#verified.delete(oldest);
  }
}
