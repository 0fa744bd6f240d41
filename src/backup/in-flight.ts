// InFlight: work of which only so much is under way at once. The first failure ends it: nothing more is begun.

export class InFlight {
  readonly #max: number;
  readonly #pending = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | null = null;

  constructor(max: number) {
    this.#max = max;
  }

  /** Begins `work` once there is room for it. Rejects with the failure of work before. */
  async add(work: () => Promise<void>): Promise<void> {
    while (this.#pending.size >= this.#max && this.#failure === null) await Promise.race(this.#pending);
    if (this.#failure !== null) throw this.#failure.error;
    const task = work()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#pending.delete(task));
    this.#pending.add(task);
  }

  /** Resolves when all is done; rejects with the first failure, when nothing is under way any more. */
  async end(): Promise<void> {
    await Promise.all(this.#pending);
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Waits for what is under way, whatever comes of it: to be called when something else has failed. */
  async settle(): Promise<void> {
    await Promise.all(this.#pending);
  }
}
