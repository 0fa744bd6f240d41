// CutEpochs: of which logs this store may have lost something that it only held in memory. A process that ends without closing
// its store loses such bytes without a trace, whole blocks too, so nothing found at a start can tell. But no append of an epoch
// is taken before the fence of that epoch is durable: logs of epochs above the fences of the start have lost nothing [C2].
//
// A store that is closed in order has made durable all it held. It leaves the epochs that were cut already, and an inventory. The next
// start, and only that one, goes on with those epochs if it finds the same: rot in the meantime makes it a crash.

import type { Disk, Log } from "#host";
import type { Epoch, VolumeId } from "#model";
import { blockRefKey, messageOf } from "#model";
import type { BlockIndex } from "./block-index.ts";
import { decodeClosing, encodeClosing } from "./closing-codec.ts";
import type { OpenBlocks } from "./open-blocks.ts";

export interface CutEpochsDeps {
  readonly disk: Disk;
  readonly log: Log;
  readonly index: BlockIndex;
  readonly open: OpenBlocks;
}

const closingName = "closed.json";

export class CutEpochs {
  readonly #incarnation: number;
  readonly #deps: CutEpochsDeps;
  #epochs: ReadonlyMap<VolumeId, Epoch>;

  /** `fences`: as the start found them, before anything is served. */
  constructor(incarnation: number, fences: ReadonlyMap<VolumeId, Epoch>, deps: CutEpochsDeps) {
    this.#incarnation = incarnation;
    this.#deps = deps;
    this.#epochs = new Map(fences);
  }

  /** As `FenceReport.cutEpoch`. */
  epochOf(volume: VolumeId): Epoch {
    return this.#epochs.get(volume) ?? 0;
  }

  /** Call once all blocks have been found, before anything is served. */
  recall(): void {
    const { disk, log } = this.#deps;
    const text = disk.readText(closingName);
    if (text === null) return;
    const closing = decodeClosing(text);
    if (closing === null) log.warn("What the last closing left cannot be read; it counts as a crash.");
    // The incarnation was raised, durably, before: a closing is never recalled twice.
    if (closing?.incarnation !== this.#incarnation - 1) return;
    if (closing.inventory === this.#inventory()) this.#epochs = closing.cuts;
    else log.warn("The blocks are not those that were there at closing; it counts as a crash.");
  }

  /** Call when all that was held is durable and nothing more is taken. */
  leave(): void {
    const { disk, log } = this.#deps;
    const closing = { incarnation: this.#incarnation, cuts: this.#epochs, inventory: this.#inventory() };
    try {
      disk.writeTextDurably(closingName, encodeClosing(closing));
    } catch (error) {
      log.warn("The next start will take this closing for a crash.", { reason: messageOf(error) });
    }
  }

  /** How many blocks, and how much of each open one. */
  #inventory(): string {
    const { index, open } = this.#deps;
    const held = [...open.all()].map((block) => `${blockRefKey(block.ref)}=${block.held}`);
    return `${index.size} blocks; ${held.sort().join(" ")}`;
  }
}
