// RefGate: one task at a time on a block, in the order they were asked for. Appends to an open block take effect at
// once and need no gate; what has to wait for the disk (a first append, a seal, a put, a removal) holds it meanwhile, and
// all that comes for the block queues behind.

import type { BlockRef, VolumeId } from "#model";
import { blockRefKey } from "#model";

interface Gate {
  readonly volume: VolumeId;
  readonly queue: (() => void)[];
}

export class RefGate {
  readonly #gates = new Map<string, Gate>();

  busy(ref: BlockRef): boolean {
    return this.#gates.size > 0 && this.#gates.has(blockRefKey(ref));
  }

  /** Runs `task` when the tasks of `ref` before it have settled: in this turn when there are none. */
  run<T>(ref: BlockRef, task: () => Promise<T>): Promise<T> {
    const key = blockRefKey(ref);
    const gate = this.#gates.get(key);
    if (gate === undefined) {
      this.#gates.set(key, { volume: ref.volume, queue: [] });
      return this.#start(key, task);
    }
    return new Promise((resolve, reject) => {
      gate.queue.push(() => {
        this.#start(key, task).then(resolve, reject);
      });
    });
  }

  /** Resolves when the tasks asked for until now on `refs` have settled. */
  async afterRefs(refs: readonly BlockRef[]): Promise<void> {
    if (this.#gates.size === 0) return;
    await Promise.all(refs.map((ref) => this.#after(blockRefKey(ref))));
  }

  /** Resolves when the tasks asked for until now on `volume` (on any, for null) have settled. */
  async afterVolume(volume: VolumeId | null): Promise<void> {
    const keys = [...this.#gates].filter(([, gate]) => volume === null || gate.volume === volume);
    await Promise.all(keys.map(([key]) => this.#after(key)));
  }

  #after(key: string): Promise<void> {
    return new Promise((resolve) => {
      const gate = this.#gates.get(key);
      if (gate === undefined) {
        resolve();
        return;
      }
      gate.queue.push(() => {
        resolve();
        this.#next(key);
      });
    });
  }

  async #start<T>(key: string, task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } finally {
      this.#next(key);
    }
  }

  #next(key: string): void {
    const next = this.#gates.get(key)?.queue.shift();
    if (next === undefined) this.#gates.delete(key);
    else next();
  }
}
