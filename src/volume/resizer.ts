// Resizer: gives an attached volume another size, while it serves. The new size is committed in the spec, in one transaction with a
// sealed checkpoint, guarded by the writer's epoch: a head and a size always belong together, and no record from before is replayed
// behind them.
//
// Invariants [C26]: no page past a volume's end is mapped, by its head or by the log behind it, so a volume that grows shows zeroes there
// and never what it had once. A volume becomes smaller in this order: requests past the new end wait; all that came
// before are in the map; what they left past the new end refuses the change, or is trimmed; only then is the size committed. A crash
// before leaves the old size, with or without what was to go.

import type { Clock, Log } from "#host";
import type {
  ClusterMetadata,
  HeadCompany,
  HeadRecord,
  PendingRequest,
  VolumeSpec,
  VolumeState,
  WriterAttachment,
} from "#metadata";
import { answering, requireVolumeSize } from "#metadata";
import { formatBytes, pageBytes, TorusError } from "#model";
import type { ExtentMap } from "./extent-map.ts";
import { mapExtents } from "./map-extents.ts";
import { mappedParts } from "./replay.ts";
import type { RequestQueue } from "./request-queue.ts";
import { settleAll } from "./request-queue.ts";
import type { VolumeSize } from "./volume-size.ts";

export interface ResizeWish {
  readonly sizeBytes: number;
  /** What is in use past the new end is given up. */
  readonly force: boolean;
}

export interface ResizerDeps {
  readonly metadata: ClusterMetadata;
  readonly attachment: WriterAttachment;
  readonly map: ExtentMap;
  readonly queue: RequestQueue;
  readonly size: VolumeSize;
  /** A sealed checkpoint in company; null when that was refused. Rejects with `full`, or with what ended the attachment. */
  readonly keep: (companyOf: (head: HeadRecord) => HeadCompany) => Promise<HeadRecord | null>;
  readonly clock: Clock;
  readonly logger: Log;
}

/** Others may change the spec meanwhile. */
const commitAttemptsMax = 8;

export class Resizer {
  readonly #deps: ResizerDeps;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: ResizerDeps) {
    this.#deps = deps;
  }

  /**
   * The spec with its new size. `pending`: the request that it fulfils, which goes in the same transaction. Rejects with `invalid-argument` for a size no volume
   * can have, `busy` when something is in use past the new end, `full`, `conflict` when the request was withdrawn, or with what ended the
   * attachment.
   */
  resize(wish: ResizeWish, pending: PendingRequest | null = null): Promise<VolumeSpec> {
    const turn = this.#turn.then(() => this.#resize(wish, pending));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #resize({ sizeBytes, force }: ResizeWish, pending: PendingRequest | null): Promise<VolumeSpec> {
    const { size, clock, logger } = this.#deps;
    requireVolumeSize(sizeBytes);
    const before = size.bytes;
    if (sizeBytes === before) return this.#unchanged(pending);
    const { spec: old } = await this.#load(pending);
    if (old.kind === "file") throw isFile(old.name);
    const startedMs = clock.monotonicMs();
    size.begin(sizeBytes);
    let after = before;
    try {
      if (sizeBytes < before) await this.#empty(sizeBytes, before, force);
      const spec = await this.#commit(sizeBytes, pending);
      after = sizeBytes;
      const ms = Math.round(clock.monotonicMs() - startedMs);
      logger.info("the volume has another size", { fromBytes: before, toBytes: sizeBytes, ms });
      return spec;
    } finally {
      size.settle(after);
    }
  }

  async #unchanged(pending: PendingRequest | null): Promise<VolumeSpec> {
    const { metadata, attachment } = this.#deps;
    if (pending !== null) await metadata.requests.withdraw(attachment.volume, pending.token);
    return (await metadata.volumes.load(attachment.volume)).spec;
  }

  /** Nothing of [from, to) is mapped afterwards. */
  async #empty(from: number, to: number, force: boolean): Promise<void> {
    const { map, queue } = this.#deps;
    const first = from / pageBytes;
    const count = (to - from) / pageBytes;
    await queue.settled(first, count);
    if (!force) return this.#requireEmpty(from, to);
    const zeroed: (number | Promise<number>)[] = [];
    for await (const part of mappedParts(map, first, count)) zeroed.push(queue.zero(part.first, part.count));
    await settleAll(zeroed);
  }

  async #requireEmpty(from: number, to: number): Promise<void> {
    const { map, attachment } = this.#deps;
    for (let offset = from; offset < to; ) {
      const extents = await mapExtents(map, { offset, length: to - offset, countMax: extentsAtOnce });
      for (const { length, marked } of extents) {
        if (marked) throw inUse(attachment.name, from, offset);
        offset += length;
      }
    }
  }

  async #commit(sizeBytes: number, pending: PendingRequest | null): Promise<VolumeSpec> {
    const { metadata, attachment, keep } = this.#deps;
    const { volume: id, name } = attachment;
    for (let attempt = 0; attempt < commitAttemptsMax; attempt++) {
      const state = await this.#load(pending);
      const company = answering(id, pending, metadata.volumes.resizing(state, sizeBytes));
      if ((await keep(() => company)) !== null) return { ...state.spec, sizeBytes };
    }
    throw new TorusError("conflict", `others kept changing volume "${name}" while it was resized: try again`);
  }

  /** The volume as it is now, if `pending` is still asked for. */
  async #load(pending: PendingRequest | null): Promise<VolumeState> {
    const { metadata, attachment } = this.#deps;
    const { volume, requests } = await metadata.requests.requests(attachment.volume);
    if (pending === null || requests.some(({ token }) => token === pending.token)) return volume;
    throw new TorusError("conflict", `the request to resize volume "${attachment.name}" was withdrawn`);
  }
}

const extentsAtOnce = 64;

function isFile(name: string): TorusError {
  return new TorusError(
    "invalid-argument",
    `"${name}" is a file: it is as long as what was written to it, or as truncate made it`,
  );
}

function inUse(name: string, endBytes: number, atBytes: number): TorusError {
  return new TorusError(
    "busy",
    `volume "${name}" is in use past ${formatBytes(endBytes)}, at byte ${atBytes}: make its file system smaller and trim what is past that, or give it up with --force`,
  );
}
