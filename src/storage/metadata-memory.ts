// MetadataMemory: what a store remembers of the metadata service, in metadata.json, and the store's refusal while the metadata is
// behind that [C7]. docs/formats/store.md describes the file, metadata-memory-machine.ts when it is written.

import type { Clock, Disk, Log } from "#host";
import type { MetadataView } from "#model";
import { messageOf, metadataBehind, TorusError } from "#model";
import type { Health } from "./health.ts";
import { decodeMemory, encodeMemory } from "./metadata-memory-codec.ts";
import { type MetadataKept, MetadataMemoryMachine, nothingKept } from "./metadata-memory-machine.ts";

export interface MetadataMemoryDeps {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly health: Health;
  readonly log: Log;
}

const fileName = "metadata.json";

export class MetadataMemory {
  readonly #deps: MetadataMemoryDeps;
  readonly #machine: MetadataMemoryMachine;
  readonly #lookMsMax: number | null;
  #shownMs = 0;
  #failing = false;

  /**
   * `lookMsMax`: see DiskStoreOptions; null for a store that is not served to a cluster. Throws `corrupt` when the memory may
   * have lost something. A store without the file never saw any metadata.
   */
  static open(lookMsMax: number | null, deps: MetadataMemoryDeps): MetadataMemory {
    const text = deps.disk.readText(fileName);
    const kept = text === null ? nothingKept : decodeMemory(text);
    if (kept.behind !== "") deps.health.refuse(metadataBehind(kept.behind));
    else if (lookMsMax !== null) {
      deps.health.refuse(
        new TorusError("unavailable", "the peer is starting: it has not seen the metadata service yet"),
      );
    }
    return new MetadataMemory(lookMsMax, kept, deps);
  }

  private constructor(lookMsMax: number | null, kept: MetadataKept, deps: MetadataMemoryDeps) {
    this.#lookMsMax = lookMsMax;
    this.#deps = deps;
    this.#machine = new MetadataMemoryMachine(kept);
  }

  /**
   * For fences: as `Health.requireSound`, and the metadata was looked at not long ago. While it was out of sight it may have been replaced, and
   * whoever comes may have decided by what took its place.
   */
  requireFresh(): void {
    const { health, clock } = this.#deps;
    health.requireSound();
    if (this.#lookMsMax === null || clock.monotonicMs() - this.#shownMs <= this.#lookMsMax) return;
    throw new TorusError(
      "unavailable",
      "the peer has not reached the metadata service for a while, and lets nobody in before it has",
    );
  }

  /** The highest seen, and the refusal there is now. */
  get kept(): MetadataKept {
    return { ...this.#machine.kept, behind: this.#machine.behind };
  }

  /**
   * Shows the store the metadata as it was read after everything shown before. Returns why it is refused from now on, "" when it is
   * taken. `proof`: why it is behind although its numbers do not show it.
   */
  observe(view: MetadataView, proof: string): string {
    const { clock, health, log } = this.#deps;
    const before = this.#machine.behind;
    this.#shownMs = clock.monotonicMs();
    const mustSave = this.#machine.observe(view, proof, timesOf(clock));
    const { behind } = this.#machine;
    health.refuse(behind === "" ? null : metadataBehind(behind));
    if (behind !== before) {
      if (behind === "") log.warn("The metadata is taken again, and with it changes.", { ...view });
      else log.error("The metadata is refused, and with it every change.", { reason: behind });
    }
    if (mustSave) this.save();
    return behind;
  }

  /** Writes down what is not yet. A disk that does not take it is asked again with the next observation. */
  save(): void {
    if (!this.#machine.unsaved) return;
    const { disk, clock, log } = this.#deps;
    try {
      disk.writeTextDurably(fileName, encodeMemory(this.#machine.kept));
      this.#machine.saved(timesOf(clock));
      this.#failing = false;
    } catch (error) {
      if (!this.#failing)
        log.warn("What was seen of the metadata cannot be written down.", { reason: messageOf(error) });
      this.#failing = true;
    }
  }
}

function timesOf(clock: Clock): { monotonicMs: number; wallMs: number } {
  return { monotonicMs: clock.monotonicMs(), wallMs: Math.max(0, Math.floor(clock.wallMs())) };
}
