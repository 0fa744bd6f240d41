// EpochChecker: sees every transaction of the metadata service and holds it to what all else rests on: a volume's epoch never goes back,
// is taken by one owner only, and its head is never of an older epoch than before.

import type { Change } from "#metadata";
import type { Epoch } from "#model";
import type { World } from "./world.ts";

interface Seen {
  writer: Epoch;
  owner: string;
  head: Epoch;
}

export class EpochChecker {
  readonly #world: World;
  readonly #volumes = new Map<string, Seen>();

  constructor(world: World) {
    this.#world = world;
  }

  committed(client: string, changes: readonly Change[]): void {
    for (const change of changes) {
      const match = /^volumes\/([0-9a-f]+)\/(writer|head)$/.exec(change.key);
      if (match === null) continue;
      const [, volume, part] = match;
      if (change.kind === "delete") {
        this.#world.violate("epochs", `${client} removed the ${part} of volume ${volume}`);
        continue;
      }
      const seen = this.#volumes.get(volume) ?? { writer: 0, owner: "", head: 0 };
      this.#volumes.set(volume, seen);
      const record = JSON.parse(change.value) as { epoch: Epoch; owner?: string };
      if (part === "writer") this.#writer(client, volume, seen, record.epoch, record.owner ?? "");
      else this.#head(client, volume, seen, record.epoch);
    }
  }

  #writer(client: string, volume: string, seen: Seen, epoch: Epoch, owner: string): void {
    if (epoch < seen.writer)
      this.#world.violate("epochs", `${client} took volume ${volume} from epoch ${seen.writer} to ${epoch}`);
    if (epoch === seen.writer && owner !== "" && owner !== seen.owner)
      this.#world.violate("epochs", `${client} took epoch ${epoch} of volume ${volume}, which was taken`);
    seen.writer = epoch;
    seen.owner = owner;
  }

  #head(client: string, volume: string, seen: Seen, epoch: Epoch): void {
    if (epoch < seen.head || epoch !== seen.writer)
      this.#world.violate(
        "epochs",
        `${client} committed a head of epoch ${epoch} of volume ${volume} after one of ${seen.head}, in epoch ${seen.writer}`,
      );
    seen.head = epoch;
  }
}
