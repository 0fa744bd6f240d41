// Broken scrubbing, for canaries: a peer looks after its disk, with one rule taken out of it.

import type { BlockRef } from "#model";
import { crc32 } from "#model";
import type { OwnStore } from "#upkeep";
import { PassingStore } from "./passing-store.ts";

/** What is sealed counts as whole, without a look at the disk. */
export class BlindStore extends PassingStore implements OwnStore {
  readonly #own: OwnStore;

  constructor(own: OwnStore) {
    super(own);
    this.#own = own;
  }

  remove(ref: BlockRef, mayRemove: () => boolean): Promise<boolean> {
    return this.#own.remove(ref, mayRemove);
  }

  async verify(ref: BlockRef): Promise<boolean | null> {
    const [{ state }] = await this.#own.stat([ref]);
    return state === "sealed" ? true : null;
  }
}

/** A damaged copy is put right by giving what is there a checksum that fits. */
export class ResealingStore extends PassingStore implements OwnStore {
  readonly #own: OwnStore;

  constructor(own: OwnStore) {
    super(own);
    this.#own = own;
  }

  override async put(ref: BlockRef, bytes: Uint8Array, checksum: number, purpose: "write" | "repair") {
    const [{ state, held }] = await this.#own.stat([ref]);
    if (state !== "sealed") return this.#own.put(ref, bytes, checksum, purpose);
    const there = await this.#own.read(ref, 0, held);
    return this.#own.put(ref, there, crc32(there), purpose);
  }

  remove(ref: BlockRef, mayRemove: () => boolean): Promise<boolean> {
    return this.#own.remove(ref, mayRemove);
  }

  verify(ref: BlockRef): Promise<boolean | null> {
    return this.#own.verify(ref);
  }
}
