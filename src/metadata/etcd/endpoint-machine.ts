// Which endpoint comes next. The one that works is kept; after a failure the next in the list is tried, so that a round
// reaches each once. Without time or I/O.

import { assert } from "#model";

export class EndpointMachine {
  readonly #count: number;
  #current: number;

  /** `start`: any number; members of one fleet start at different endpoints, which spreads them. */
  constructor(count: number, start: number) {
    assert(count > 0, "there is an endpoint");
    this.#count = count;
    this.#current = start % count;
  }

  get current(): number {
    return this.#current;
  }

  /** No effect when another failure has moved on from `endpoint` before. */
  failed(endpoint: number): void {
    if (endpoint === this.#current) this.#current = (endpoint + 1) % this.#count;
  }
}
