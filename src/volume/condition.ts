// Condition: what writes of a volume wait for, told when it changes.

import type { Log } from "#host";

export class Condition {
  readonly #log: Log;
  readonly #onChange: (condition: string) => void;
  #present = "";

  /** `onChange`: "" when they wait for nothing any more. */
  constructor(deps: { readonly log: Log; readonly onChange: (condition: string) => void }) {
    this.#log = deps.log;
    this.#onChange = deps.onChange;
  }

  set(condition: string): void {
    if (condition === this.#present) return;
    this.#present = condition;
    if (condition !== "") this.#log.warn("writes wait", { condition });
    this.#onChange(condition);
  }
}
