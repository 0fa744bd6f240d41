// Repairer: puts right a bad copy that a reader met. Only sealed blocks, only with the (length, checksum) their writer gave, only
// by put; one at a time, in the background, and forgotten when it cannot be done: the next reader will report it again.

import type { Counter, Log, Metrics } from "#host";
import type { BlockRef, BlockStore, PeerId } from "#model";
import { blockRefKey, crc32, messageOf } from "#model";
import type { Reader } from "./reader.ts";

/** What is known of a sealed block that is still live, or null for one that is open or dead. */
export type SealOf = (ref: BlockRef) => { readonly length: number; readonly checksum: number } | null;

const queuedMax = 256;

export interface RepairerDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly reader: () => Reader;
  readonly sealOf: SealOf;
  readonly log: Log;
  readonly metrics: Metrics;
}

export class Repairer {
  readonly #deps: RepairerDeps;
  readonly #queue = new Map<string, { ref: BlockRef; peer: PeerId }>();
  readonly #repaired: Counter;
  readonly #failed: Counter;
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(deps: RepairerDeps) {
    this.#deps = deps;
    this.#repaired = deps.metrics.counter(
      "torus_distributor_repaired_blocks_total",
      "Damaged copies replaced by good ones",
    );
    this.#failed = deps.metrics.counter(
      "torus_distributor_failed_repairs_total",
      "Damaged copies that could not be replaced yet",
    );
  }

  /** Remembers a bad copy and repairs it when its turn comes. */
  report(ref: BlockRef, peer: PeerId): void {
    if (this.#closed || this.#queue.size >= queuedMax) return;
    this.#queue.set(`${peer} ${blockRefKey(ref)}`, { ref, peer });
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  /** Stops after the repair at hand. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    for (const [key, { ref, peer }] of this.#queue) {
      if (this.#closed) return;
      try {
        if (await this.#repair(ref, peer)) this.#repaired.add(1);
      } catch (error) {
        this.#failed.add(1);
        this.#deps.log.warn("could not repair a copy", {
          peer,
          block: blockRefKey(ref),
          reason: messageOf(error),
        });
      }
      this.#queue.delete(key);
    }
  }

  async #repair(ref: BlockRef, peer: PeerId): Promise<boolean> {
    const seal = this.#deps.sealOf(ref);
    if (seal === null) return false;
    const whole = (bytes: Uint8Array): boolean => crc32(bytes) === seal.checksum;
    const bytes = await this.#deps.reader().read(ref, 0, seal.length, whole);
    if (this.#deps.sealOf(ref) === null) return false;
    await this.#deps.storeOf(peer).put(ref, bytes, seal.checksum, "repair");
    this.#deps.log.info("repaired a copy", { peer, block: blockRefKey(ref) });
    return true;
  }
}
