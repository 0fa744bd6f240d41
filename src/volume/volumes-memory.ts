// VolumesMemory: what all volumes of a process may take together, when there is a bound: how many are open at once, and what each
// may have of its log. A volume that rests keeps little, so those that work share the rest.

import { TorusError } from "#model";

export interface VolumesMemory {
  /** Volumes and snapshots open at once. */
  readonly countMax: number;
  /** For the map of each. */
  readonly mapBytes: number;
  /** For the logs of all. */
  readonly windowBytes: number;
}

export class VolumesRoom {
  readonly #memory: VolumesMemory;
  #open = 0;

  constructor(memory: VolumesMemory) {
    this.#memory = memory;
  }

  /** What each log may keep now. */
  get windowBytes(): number {
    return this.#memory.windowBytes / Math.max(1, this.#open);
  }

  /** Counts one more until what is returned is called. Throws `limit` when there is no room for it. */
  enter(name: string): () => void {
    const { countMax } = this.#memory;
    if (this.#open >= countMax) {
      throw new TorusError(
        "limit",
        `"${name}" is one too many: the memory of this program is enough for ${countMax} volumes at once. Give it more (--memory), or use fewer`,
      );
    }
    this.#open += 1;
    let isOver = false;
    return () => {
      if (!isOver) this.#open -= 1;
      isOver = true;
    };
  }
}
