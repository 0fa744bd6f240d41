// What a watch has delivered and what comes next, without I/O. Revisions are etcd's own. Invariants: events are delivered
// in revision order, each once, a revision always whole; after a break the stream is opened again, at any member, from the
// revision after the last that was delivered; nothing follows a reset.
//
// The place to go on from moves with events, and with etcd's progress notices (an empty answer on the watch itself, sent
// through the same queue as events), so that compaction does not overtake an idle watch. The progress a client can *ask* for is not
// used: before etcd 3.4.25 it may run ahead of events (etcd issue 15220), and later versions do not always answer.

import type { ChangeEvent, WatchResponse } from "./response-codec.ts";

export type WatchInput =
  | { readonly kind: "opened" }
  | { readonly kind: "response"; readonly response: WatchResponse }
  /** The stream is over, or could not be opened. */
  | { readonly kind: "ended" }
  /** The answer to `confirm`: the store's revision, read linearizably. */
  | { readonly kind: "confirmed"; readonly delivered: number; readonly revision: number };

export type WatchCommand =
  /** Ask for everything from `startRevision` on. */
  | { readonly kind: "create"; readonly startRevision: number }
  | { readonly kind: "deliver"; readonly events: readonly ChangeEvent[]; readonly revision: number }
  /** A member is behind `delivered`. It may just be slow: read the store's revision. */
  | { readonly kind: "confirm"; readonly delivered: number }
  /** The server ended the watch, not the stream: leave the stream. `reason` is etcd's. */
  | { readonly kind: "leave"; readonly reason: string }
  | { readonly kind: "reopen"; readonly delayMs: number }
  /** The last command. */
  | { readonly kind: "reset"; readonly reason: string };

const reopenMsMin = 20;
const reopenMsMax = 2000;

export class WatchMachine {
  /** All up to here is delivered. */
  #delivered: number;
  /** Of the revision after it that has not come whole. */
  #partial: ChangeEvent[] = [];
  #attempts = 0;
  #over = false;

  /** `fromRevision`: what is above it is of interest. */
  constructor(fromRevision: number) {
    this.#delivered = fromRevision;
  }

  handle(input: WatchInput): WatchCommand[] {
    if (this.#over) return [];
    switch (input.kind) {
      case "opened":
        this.#partial = [];
        return [{ kind: "create", startRevision: this.#delivered + 1 }];
      case "response":
        return this.#response(input.response);
      case "ended":
        return [{ kind: "reopen", delayMs: this.#nextDelayMs() }];
      case "confirmed":
        // What was delivered was committed: a store that is behind it has lost something.
        if (input.revision >= input.delivered) return [];
        return this.#reset(`the store is at revision ${input.revision}, before ${input.delivered}`);
    }
  }

  #response(response: WatchResponse): WatchCommand[] {
    if (response.compactRevision > 0) {
      return this.#reset(`changes up to revision ${response.compactRevision} are compacted`);
    }
    if (response.canceled) return [{ kind: "leave", reason: response.cancelReason || "no reason given" }];
    if (response.created) {
      this.#attempts = 0;
      const behind = response.header.revision < this.#delivered;
      return behind ? [{ kind: "confirm", delivered: this.#delivered }] : [];
    }
    if (response.events.length === 0) {
      if (this.#partial.length === 0) this.#delivered = Math.max(this.#delivered, response.header.revision);
      return [];
    }
    return this.#events(response);
  }

  #events({ events, fragment }: WatchResponse): WatchCommand[] {
    for (const event of events) if (event.entry.modRevision > this.#delivered) this.#partial.push(event);
    const last = this.#partial.at(-1)?.entry.modRevision ?? 0;
    // More of the last revision may follow in another fragment.
    const whole = fragment
      ? this.#partial.findIndex((event) => event.entry.modRevision === last)
      : this.#partial.length;
    if (whole <= 0) return [];
    const ready = this.#partial.slice(0, whole);
    this.#partial = this.#partial.slice(whole);
    this.#delivered = ready[ready.length - 1].entry.modRevision;
    return [{ kind: "deliver", events: ready, revision: this.#delivered }];
  }

  #reset(reason: string): WatchCommand[] {
    this.#over = true;
    return [{ kind: "reset", reason }];
  }

  /** At once after a watch that worked, then doubling. */
  #nextDelayMs(): number {
    const delayMs = this.#attempts === 0 ? 0 : Math.min(reopenMsMax, reopenMsMin * 2 ** this.#attempts);
    this.#attempts = Math.min(this.#attempts + 1, 16);
    return delayMs;
  }
}
