// RunScope: what a run began and has to undo, latest first, whatever fails.

import type { Scope } from "../system/programs.ts";

export class RunScope implements Scope {
  readonly #undos: (() => void | Promise<void>)[] = [];

  after(undo: () => void | Promise<void>): void {
    this.#undos.push(undo);
  }

  /** Undoes all; rejects with the first failure once everything was tried. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const undo of this.#undos.splice(0).reverse()) {
      try {
        await undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/** Does `work` in a scope that is closed when it ends, also when it fails. */
export async function inScope<T>(work: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = new RunScope();
  try {
    return await work(scope);
  } finally {
    await scope.close();
  }
}
