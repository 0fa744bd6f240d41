// TailKeeper: what upkeep does for volumes whose writer died for good: once nobody has had one for a while and its log has a tail,
// it is attached, checkpointed and detached [C20]. An operator of the simulated cluster, whose own way to the metadata is as bad as
// any client's.

import { isTorusError, messageOf } from "#model";
import type { ClusterVolumes } from "#volume";
import type { SimClient } from "./client.ts";
import type { SimCluster } from "./cluster.ts";

const lookEveryMs = 1000;

export class TailKeeper {
  readonly #afterMs: number;
  readonly #cluster: SimCluster;
  readonly #client: SimClient;
  #volumes: ClusterVolumes | null = null;
  /** Since when a volume has been seen with a tail and without an owner. */
  readonly #idle = new Map<string, number>();

  constructor(options: { readonly afterMs: number }, cluster: SimCluster) {
    this.#afterMs = options.afterMs;
    this.#cluster = cluster;
    this.#client = cluster.newClient("keeper");
  }

  start(): void {
    this.#client.start(true);
    this.#schedule();
  }

  #schedule(): void {
    const { world } = this.#cluster;
    world.clock.setTimer(lookEveryMs, () => {
      this.#look().then(
        () => this.#schedule(),
        (error: unknown) => {
          if (!isTorusError(error)) world.violateBy(error, "the keeper of tails");
          world.trace.add("keeper", `goes on later: ${messageOf(error)}`);
          this.#schedule();
        },
      );
    });
  }

  async #look(): Promise<void> {
    const { world } = this.#cluster;
    const now = world.clock.monotonicMs();
    const tails = await this.#cluster.tails();
    for (const name of tails) if (!this.#idle.has(name)) this.#idle.set(name, now);
    for (const [name, sinceMs] of this.#idle) {
      if (!tails.includes(name)) this.#idle.delete(name);
      else if (now - sinceMs >= this.#afterMs) await this.#recover(name);
    }
  }

  async #recover(name: string): Promise<void> {
    const { world } = this.#cluster;
    this.#volumes ??= await this.#client.open();
    const isDone = await this.#volumes.recoverTail(name);
    world.trace.add("keeper", `the tail of ${name} ${isDone ? "is recovered" : "is still there"}`);
    this.#idle.delete(name);
  }
}
