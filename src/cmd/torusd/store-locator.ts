// StoreLocator: tells readers where blocks lie in the store's file, for those who are on this machine and may read it.

import { join } from "node:path";
import { openBootClock } from "#host/node";
import type { BlockLocation, BlockRef, Locator } from "#model";
import { blockRefKey, TorusError } from "#model";
import type { DiskStore } from "#storage";
import { dataFileName } from "#storage";

export class StoreLocator implements Locator {
  readonly #store: DiskStore;
  readonly #path: string;
  readonly #bootId = openBootClock().bootId;

  constructor(directory: string, store: DiskStore) {
    this.#store = store;
    this.#path = join(directory, dataFileName);
  }

  async locate(ref: BlockRef): Promise<BlockLocation> {
    const spot = this.#store.spotOf(ref);
    if (spot === null)
      throw new TorusError("not-found", `nothing of block ${blockRefKey(ref)} is in the file of this store`);
    return { ...spot, bootId: this.#bootId, path: this.#path };
  }
}
