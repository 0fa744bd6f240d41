// MetadataObserver: shows a peer's store the metadata, at each heartbeat, so that metadata that went back is noticed before anything is built
// on it [C7]. One look after another: what a look is judged by was all read before it, else two looks that cross would be taken for
// metadata that goes back and forth.
//
// At the start, after a failure or a pause, every so often, and while the store refuses, it looks closely: it compares the epoch of each volume, too.
// Whoever finds the metadata behind raises the alarm in it, so that nobody attaches anywhere.

import type { Clock, Log } from "#host";
import type { MetadataView, StoreWitness, VolumeTrace } from "#model";
import { messageOf, TorusError, testifyWhole } from "#model";
import type { AdoptionRegistry, CloseLook, MetadataLook } from "./adoption.ts";

export interface ObservedStore extends StoreWitness {
  /** Judges the metadata; returns why it is refused from now on, "" when it is taken. `proof` as of `testify` before the look. */
  observe(view: MetadataView, proof: string): string | Promise<string>;
}

export interface MetadataObserverOptions {
  /** What happened to the metadata in a pause between two looks longer than this may be anything. */
  readonly pauseMsMax: number;
}

export interface MetadataObserverDeps {
  readonly adoption: AdoptionRegistry;
  readonly store: ObservedStore;
  readonly clock: Clock;
  readonly log: Log;
}

const closelyEveryMs = 10 * 60_000;

export class MetadataObserver {
  readonly #options: MetadataObserverOptions;
  readonly #deps: MetadataObserverDeps;
  /** What happened since the last look that ended well may be anything. */
  #unsure = true;
  #closelyMs = 0;
  #lookedMs = 0;
  #generation = 0;
  #reported = "";

  constructor(options: MetadataObserverOptions, deps: MetadataObserverDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * One look; never two at a time. Returns why the store refuses the metadata, "" when it takes it. Rejects with `invalid-argument` when the store
   * belongs to another cluster, and with what the metadata service failed with.
   */
  async look(): Promise<string> {
    const { adoption, clock } = this.#deps;
    const nowMs = clock.monotonicMs();
    const isDue = nowMs - this.#closelyMs >= closelyEveryMs;
    const mustBeClose = this.#unsure || isDue || nowMs - this.#lookedMs > this.#options.pauseMsMax;
    this.#unsure = true;
    let behind: string;
    const plain = mustBeClose ? null : await adoption.look();
    if (plain !== null && plain.view.generation === this.#generation) {
      behind = await this.#deps.store.observe(plain.view, "");
      await this.#report(behind, plain);
    } else {
      behind = await this.#lookClosely();
    }
    this.#unsure = behind !== "";
    this.#lookedMs = clock.monotonicMs();
    return behind;
  }

  async #lookClosely(): Promise<string> {
    const { adoption, store, clock } = this.#deps;
    const told = await testifyWhole(store);
    const look = await adoption.lookClosely();
    if (told.view !== null && told.view.clusterId !== look.view.clusterId) {
      throw new TorusError(
        "invalid-argument",
        `the store of peer ${store.peer} belongs to cluster ${told.view.clusterId}, this metadata is of cluster ${look.view.clusterId}: correct the metadata URL, or empty the directory to start it as a new peer`,
      );
    }
    const behind = await store.observe(look.view, proofOf(told.volumes, look));
    this.#closelyMs = clock.monotonicMs();
    this.#generation = look.view.generation;
    await this.#report(behind, look);
    return behind;
  }

  /** Best effort: the store refuses in any case, and it is tried again at the next look. */
  async #report(behind: string, { alarm, view }: MetadataLook): Promise<void> {
    const { adoption, store, log } = this.#deps;
    if (behind === "" || alarm !== null) return;
    try {
      await adoption.report(behind, `peer ${store.peer}`, view.generation);
      this.#reported = "";
    } catch (error) {
      const reason = messageOf(error);
      if (this.#reported !== reason)
        log.warn("The metadata went back, and that cannot be written into it.", { reason });
      this.#reported = reason;
    }
  }
}

/** Why the metadata is behind what the store has of its volumes, "" when it is not. */
function proofOf(traces: readonly VolumeTrace[], { view, epochs }: CloseLook): string {
  for (const { volume, epoch } of traces) {
    if (volume > view.lastVolumeId)
      return `it gave out volume ids up to ${view.lastVolumeId}, and volume ${volume} is here`;
    const known = epochs.get(volume);
    if (known !== undefined && known < epoch)
      return `volume ${volume} is at epoch ${known} in it, and at epoch ${epoch} here`;
  }
  return "";
}
