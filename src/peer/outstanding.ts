// A request that has no answer yet, and the queue of those that wait to be sent.

import type { TakeMemory, TorusError } from "#model";
import type { Answer } from "./wire/answer-codec.ts";
import type { Request } from "./wire/request-codec.ts";

export interface Outstanding {
  readonly request: Request;
  /** What it takes of the window: its own bulk and that of its answer. */
  readonly weightBytes: number;
  readonly deadlineMs: number;
  /** For the bulk of the answer. */
  readonly take?: TakeMemory | undefined;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: TorusError) => void;
}

/** First in, first out, without moving what waits. */
export class OutstandingQueue {
  #items: Outstanding[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  push(item: Outstanding): void {
    this.#items.push(item);
  }

  peek(): Outstanding | undefined {
    return this.#items[this.#first];
  }

  shift(): void {
    this.#first += 1;
    if (this.#first * 2 < this.#items.length || this.#first < 64) {
      if (this.#first < this.#items.length) return;
    }
    this.#items = this.#items.slice(this.#first);
    this.#first = 0;
  }

  /** Empties the queue. */
  takeAll(): Outstanding[] {
    const all = this.#items.slice(this.#first);
    this.#items = [];
    this.#first = 0;
    return all;
  }
}
