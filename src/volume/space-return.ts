// SpaceReturn: how an attachment gives back the space of what is overwritten, and lives with what there is: the cleaner, and the pace of
// writers, which goes by what the cleaner can gain. Without a cleaner nothing comes back by itself, and nobody is slowed down.

import type { Clock, Log, Metrics } from "#host";
import type { BlockStore, PeerId } from "#model";
import type { CleanerDeps, CleanerOptions } from "./cleaner.ts";
import { Cleaner } from "./cleaner.ts";
import type { ClusterView, PoolUse } from "./cluster-view.ts";
import { spacePaceDefaults } from "./space-pace-machine.ts";
import type { Pace } from "./write-pace.ts";
import { noPace, WritePace } from "./write-pace.ts";

export interface SpaceReturnOptions {
  readonly cleaner: CleanerOptions | null;
  readonly fullPatienceMs: number;
}

export interface SpaceReturnDeps {
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly view: ClusterView;
  /** Length of the log. */
  readonly logBytes: () => number;
  /** Who waited may go on. */
  readonly onRoom: () => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export class SpaceReturn {
  readonly #cleaning: CleanerOptions | null;
  readonly #pace: WritePace | null;
  #cleaner: Cleaner | null = null;

  constructor(options: SpaceReturnOptions, deps: SpaceReturnDeps) {
    this.#cleaning = options.cleaner;
    const debtBytes = (): number => this.#cleaner?.debtBytes ?? 0;
    const pacing = { ...spacePaceDefaults, fullPatienceMs: options.fullPatienceMs };
    this.#pace = options.cleaner === null ? null : new WritePace(pacing, { ...deps, debtBytes });
  }

  get pace(): Pace {
    return this.#pace ?? noPace;
  }

  /** A writer that runs far ahead may meet the end. */
  get isTight(): boolean {
    return this.#pace?.isTight === true;
  }

  /** The attachment serves: from now on it is cleaned. */
  start(deps: Omit<CleanerDeps, "pool" | "isTight">): void {
    if (this.#cleaning === null) return;
    const pool = (): PoolUse => this.#pace?.pool ?? { use: 0, copyBytes: 0 };
    const isTight = (): boolean => deps.view.isTight || this.isTight;
    this.#cleaner = new Cleaner(this.#cleaning, { ...deps, pool, isTight });
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
