// Health: whether a store may still promise anything. After an error of fdatasync or of a write nobody knows what is
// on the disk (the kernel reports such an error once and forgets the pages), so the store is *poisoned* until it is
// opened again and reads back what is there: nothing after the error is reported as durable.
//
// A store also *refuses* changes while the metadata is behind what it remembers of it (metadata-memory.ts): an answer that somebody
// builds on must not rest on decisions that were taken back [C7].

import { isTorusError, messageOf, TorusError } from "#model";

export interface HealthDeps {
  /** Called once, at the first error: whoever serves this store drops its connections. */
  readonly onPoisoned: (error: TorusError) => void;
}

export class Health {
  readonly #onPoisoned: (error: TorusError) => void;
  #poison: TorusError | null = null;
  #refusal: TorusError | null = null;
  #closed = false;

  constructor(deps: HealthDeps) {
    this.#onPoisoned = deps.onPoisoned;
  }

  /** Why the store promises nothing any more, null while it does. */
  get poison(): TorusError | null {
    return this.#poison;
  }

  close(): void {
    this.#closed = true;
  }

  /** From now on every change is refused with `error`; null ends that. */
  refuse(error: TorusError | null): void {
    this.#refusal = error;
  }

  /** For calls that change or promise something. Throws `closed`, `poisoned`, or why changes are refused. */
  requireSound(): void {
    this.requireOpen();
    this.requireWilling();
  }

  /** The same for a call under way, which a store that closes lets end. */
  requireWilling(): void {
    if (this.#poison !== null) throw this.#poison;
    if (this.#refusal !== null) throw this.#refusal;
  }

  /** For calls that only read. Throws `closed`. */
  requireOpen(): void {
    if (this.#closed) throw new TorusError("closed", "the store is closed");
  }

  /** Poisons the store because of `cause` and answers with the error that every later call gets. */
  poisonWith(cause: unknown): TorusError {
    if (this.#poison !== null) return this.#poison;
    if (isTorusError(cause, "closed")) return cause;
    this.#poison = new TorusError(
      "poisoned",
      `the store stopped after a disk error and reports nothing as durable until it is restarted: ${messageOf(cause)}`,
      {},
      { cause },
    );
    this.#onPoisoned(this.#poison);
    return this.#poison;
  }
}
