// EpochChecker: sees every transaction of the metadata service and holds it to what all else rests on: a volume's epoch never goes back,
// is taken by one owner only, and its head is never of an older epoch than before. When the metadata itself goes back, what it forgot may be
// said again; but in no epoch that somebody served may anybody else ever serve [C7].

import type { Change, KeyValue } from "#metadata";
import type { Epoch } from "#model";
import type { World } from "./world.ts";

interface Seen {
  writer: Epoch;
  owner: string;
  head: Epoch;
}

const volumePart = /^volumes\/([0-9a-f]+)\/(writer|head)$/;

export class EpochChecker {
  readonly #world: World;
  readonly #volumes = new Map<string, Seen>();
  /** Who committed a head in an epoch, by volume and epoch. */
  readonly #served = new Map<string, string>();

  constructor(world: World) {
    this.#world = world;
  }

  /** The metadata is what `entries` say, from before. */
  wentBack(entries: readonly KeyValue[]): void {
    this.#volumes.clear();
    for (const { key, value } of entries) {
      const match = volumePart.exec(key);
      if (match === null) continue;
      const record = JSON.parse(value) as { epoch: Epoch; owner?: string };
      const seen = this.#seenOf(match[1]);
      if (match[2] === "head") seen.head = record.epoch;
      else {
        seen.writer = record.epoch;
        seen.owner = record.owner ?? "";
      }
    }
  }

  committed(client: string, changes: readonly Change[]): void {
    for (const change of changes) {
      const match = volumePart.exec(change.key);
      if (match === null) continue;
      const [, volume, part] = match;
      if (change.kind === "delete") {
        this.#world.violate("epochs", `${client} removed the ${part} of volume ${volume}`);
        continue;
      }
      const seen = this.#seenOf(volume);
      const record = JSON.parse(change.value) as { epoch: Epoch; owner?: string };
      if (part === "writer") this.#writer(client, volume, seen, record.epoch, record.owner ?? "");
      else this.#head(client, volume, seen, record.epoch);
    }
  }

  #seenOf(volume: string): Seen {
    let seen = this.#volumes.get(volume);
    if (seen === undefined) {
      seen = { writer: 0, owner: "", head: 0 };
      this.#volumes.set(volume, seen);
    }
    return seen;
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
    const key = `${volume} ${epoch}`;
    const served = this.#served.get(key) ?? seen.owner;
    this.#served.set(key, served);
    if (served !== seen.owner)
      this.#world.violate(
        "epochs",
        `${client} serves volume ${volume} in epoch ${epoch}, as another did before`,
      );
  }
}
