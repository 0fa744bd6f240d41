// VolumeOrders: what is ordered of an attached volume besides reading and writing: snapshots, by this process or through a request in the
// metadata; going back to one; and, of a clone, to have all of its blocks itself.

import type { Reader } from "#distributor";
import type { Clock, Log } from "#host";
import type {
  ClusterMetadata,
  FoundSnapshot,
  SnapshotRecord,
  VolumeState,
  WriterAttachment,
} from "#metadata";
import type { BlockRef } from "#model";
import { TorusError } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { ExtentMap } from "./extent-map.ts";
import type { Flattened, FlattenProgress } from "./flattener.ts";
import { Flattener } from "./flattener.ts";
import type { HeadKeeper } from "./head-keeper.ts";
import type { LogWriter } from "./log-writer.ts";
import type { PageReader } from "./page-reader.ts";
import type { RequestQueue } from "./request-queue.ts";
import { RequestWatcher } from "./request-watcher.ts";
import type { SnapshotWish } from "./snapshot-keeper.ts";
import { SnapshotKeeper } from "./snapshot-keeper.ts";

/** What a volume is made of. */
export interface VolumeParts {
  readonly map: ExtentMap;
  readonly log: LogWriter;
  readonly queue: RequestQueue;
  readonly reader: PageReader;
  readonly checkpointer: Checkpointer;
}

export interface VolumeOrdersDeps extends VolumeParts {
  readonly metadata: ClusterMetadata;
  readonly attachment: WriterAttachment;
  readonly heads: HeadKeeper;
  readonly table: BlockTable;
  /** Of blocks, by their refs. */
  readonly blocks: Reader;
  readonly isLost: () => boolean;
  /** A head could not be committed: the attachment is over. */
  readonly lose: (error: TorusError) => void;
  readonly clock: Clock;
  readonly logger: Log;
}

export class VolumeOrders {
  readonly #deps: VolumeOrdersDeps;
  readonly #snapshots: SnapshotKeeper;
  readonly #requests: RequestWatcher;
  readonly #flattener: Flattener;
  #kept: readonly SnapshotRecord[];

  /** `state`: as it was read in this attachment. */
  constructor(state: VolumeState, deps: VolumeOrdersDeps) {
    this.#deps = deps;
    this.#kept = state.snapshots;
    const registry = deps.metadata.snapshots;
    this.#snapshots = new SnapshotKeeper(state.spec, { ...deps, registry, clientsBefore: state.clients });
    this.#flattener = new Flattener(state.spec, deps);
    this.#requests = new RequestWatcher(deps.attachment.volume, {
      registry,
      fulfil: (pending) => this.#snapshots.take({ ...pending.request, token: pending.token }, pending),
      onSnapshots: (snapshots) => {
        this.#kept = snapshots;
      },
      clock: deps.clock,
      log: deps.logger,
    });
  }

  /**
   * Something besides the volume's head needs a block that is in its map: cleaning it gives no space back. A page that is live now and was written
   * before a snapshot was live then; blocks of a clone's bases are theirs.
   */
  isPinned({ volume, epoch, index }: BlockRef): boolean {
    if (volume !== this.#deps.attachment.volume) return true;
    return this.#kept.some((kept) => epoch < kept.epoch || (epoch === kept.epoch && index < kept.endIndex));
  }

  /** From now on requests are seen. */
  open(): void {
    this.#requests.open();
  }

  close(): void {
    this.#requests.close();
  }

  /** See SnapshotKeeper. */
  async takeSnapshot(wish: SnapshotWish): Promise<SnapshotRecord> {
    this.#requireAttached();
    return this.#snapshots.take(wish);
  }

  /** See SnapshotKeeper: the volume must be let go of afterwards, without another checkpoint. */
  async restore(target: FoundSnapshot, wish: SnapshotWish): Promise<SnapshotRecord> {
    this.#requireAttached();
    this.close();
    return this.#snapshots.restore(target, wish);
  }

  /** See Flattener. */
  async flatten(onProgress: (progress: FlattenProgress) => void): Promise<Flattened> {
    this.#requireAttached();
    return this.#flattener.run(onProgress);
  }

  #requireAttached(): void {
    const { name } = this.#deps.attachment;
    if (this.#deps.isLost())
      throw new TorusError("attachment-lost", `volume "${name}" is not attached any more`);
  }
}
