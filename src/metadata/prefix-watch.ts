// One watch of a prefix over a store's change log, for the implementations that keep one: delivers changes in revision
// order, whole revisions at a time, each once, from a timer turn. A watcher that compaction overtook, or that asks for
// a revision the store never had (it was restored from a backup), gets `reset` and nothing after it.

import type { Clock, Timer } from "#host";
import type { Watch, WatchEvent, WatchListener } from "./service.ts";

export interface ChangeBatch {
  /** Changes of the prefix, in revision order. */
  readonly events: readonly WatchEvent[];
  /** All changes up to this revision are in. */
  readonly revision: number;
  /** The store's revision: more is to come when it is higher. */
  readonly latest: number;
}

export interface ChangeSource {
  /** Of at most `revisionsMax` revisions above `revision`; a reason when they are not kept any more; null when the store is busy. */
  changesAfter(
    prefix: string,
    revision: number,
    revisionsMax: number,
  ): ChangeBatch | { readonly reset: string } | null;
}

const batchRevisionsMax = 256;

export class PrefixWatch implements Watch {
  readonly #prefix: string;
  readonly #listener: WatchListener;
  readonly #source: ChangeSource;
  readonly #clock: Clock;
  readonly #onClose: (watch: PrefixWatch) => void;
  #revision: number;
  #timer: Timer | null = null;
  #closed = false;

  constructor(
    options: { readonly prefix: string; readonly fromRevision: number; readonly listener: WatchListener },
    deps: {
      readonly source: ChangeSource;
      readonly clock: Clock;
      readonly onClose: (watch: PrefixWatch) => void;
    },
  ) {
    this.#prefix = options.prefix;
    this.#revision = options.fromRevision;
    this.#listener = options.listener;
    this.#source = deps.source;
    this.#clock = deps.clock;
    this.#onClose = deps.onClose;
  }

  /** Something may have changed: looks in the next timer turn. */
  wake(): void {
    if (this.#closed || this.#timer !== null) return;
    this.#timer = this.#clock.setTimer(0, () => {
      this.#timer = null;
      this.#deliver();
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#onClose(this);
  }

  #deliver(): void {
    const batch = this.#source.changesAfter(this.#prefix, this.#revision, batchRevisionsMax);
    if (batch === null) return;
    if ("reset" in batch) {
      this.close();
      this.#listener.reset(batch.reset);
      return;
    }
    this.#revision = batch.revision;
    if (batch.revision < batch.latest) this.wake();
    const last = batch.events.at(-1);
    if (last !== undefined) {
      this.#listener.events(batch.events, last.kind === "put" ? last.entry.modRevision : last.modRevision);
    }
  }
}
