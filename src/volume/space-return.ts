// SpaceReturn: how an attachment gives back the space of what is overwritten, and lives with what there is: the cleaner, and the pace of
// writers, which goes by what the cleaner can gain. Without a cleaner nothing comes back by itself, and nobody is slowed down.

import type { Clock, Log } from "#host";
import type { BlockStore, PeerId } from "#model";
import type { CleanerDeps, CleanerOptions } from "./cleaner.ts";
import { Cleaner } from "./cleaner.ts";
import type { ClusterView } from "./cluster-view.ts";
import { spacePaceDefaults } from "./space-pace-machine.ts";
import type { Pace } from "./write-pace.ts";
import { noPace, WritePace } from "./write-pace.ts";

export interface SpaceReturnDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly view: ClusterView;
  /** Who waited may go on. */
  readonly onRoom: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export class SpaceReturn {
  readonly #options: CleanerOptions | null;
  readonly #pace: WritePace | null;
  #cleaner: Cleaner | null = null;

  constructor(options: CleanerOptions | null, deps: SpaceReturnDeps) {
    this.#options = options;
    const debtBytes = (): number => this.#cleaner?.debtBytes ?? 0;
    this.#pace = options === null ? null : new WritePace(spacePaceDefaults, { ...deps, debtBytes });
  }

  get pace(): Pace {
    return this.#pace ?? noPace;
  }

  /** A writer that runs far ahead may meet the end. */
  get isTight(): boolean {
    return this.#pace?.isTight === true;
  }

  /** The attachment serves: from now on it is cleaned. */
  start(deps: Omit<CleanerDeps, "freshUse">): void {
    if (this.#options === null) return;
    this.#cleaner = new Cleaner(this.#options, { ...deps, freshUse: () => this.#pace?.use ?? 0 });
  }

  /** No page moves by itself any more. */
  stopCleaning(): void {
    this.#cleaner?.close();
  }

  close(): void {
    this.stopCleaning();
    this.#pace?.close();
  }
}
