// VolumeOrders: what is ordered of an attached volume besides reading and writing: snapshots and other sizes, by this process or through a
// request in the metadata; going back to a snapshot; and, of a clone, to have all of its blocks itself.

import type { Reader } from "#distributor";
import type { Clock, Log, Metrics } from "#host";
import type {
  ClusterMetadata,
  FoundSnapshot,
  HeadCompany,
  HeadRecord,
  HistoryRecord,
  PendingRequest,
  SnapshotRecord,
  VolumeSpec,
  VolumeState,
  WriterAttachment,
} from "#metadata";
import { isExpired } from "#metadata";
import type { BlockRef, BlockStore, PeerId } from "#model";
import { isTorusError, messageOf, TorusError, unreachable } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { ExtentMap } from "./extent-map.ts";
import type { Flattened, FlattenProgress } from "./flattener.ts";
import { Flattener } from "./flattener.ts";
import type { HeadKeeper } from "./head-keeper.ts";
import type { LogWriter } from "./log-writer.ts";
import type { PageReader } from "./page-reader.ts";
import { PastKeeper } from "./past-keeper.ts";
import type { RequestQueue } from "./request-queue.ts";
import { RequestWatcher } from "./request-watcher.ts";
import type { ResizeWish } from "./resizer.ts";
import { Resizer } from "./resizer.ts";
import type { SnapshotWish } from "./snapshot-keeper.ts";
import { SnapshotKeeper } from "./snapshot-keeper.ts";
import { Throttle } from "./throttle.ts";
import type { VolumeSize } from "./volume-size.ts";

/** What a volume is made of. */
export interface VolumeParts {
  readonly map: ExtentMap;
  readonly log: LogWriter;
  readonly queue: RequestQueue;
  readonly reader: PageReader;
  readonly checkpointer: Checkpointer;
  readonly size: VolumeSize;
}

export interface VolumeOrdersDeps extends VolumeParts {
  readonly metadata: ClusterMetadata;
  readonly attachment: WriterAttachment;
  readonly heads: HeadKeeper;
  readonly view: ClusterView;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly table: BlockTable;
  /** Of blocks, by their refs. */
  readonly blocks: Reader;
  readonly isLost: () => boolean;
  /** A head could not be committed: the attachment is over. */
  readonly lose: (error: TorusError) => void;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Log;
}

export class VolumeOrders {
  /** What those wait for who are to keep to the volume's limits. */
  readonly throttle: Throttle;
  readonly #deps: VolumeOrdersDeps;
  readonly #snapshots: SnapshotKeeper;
  readonly #resizer: Resizer;
  readonly #requests: RequestWatcher;
  readonly #flattener: Flattener;
  #kept: readonly SnapshotRecord[];
  #history: HistoryRecord | null;

  /** `state`: as it was read in this attachment. */
  constructor(state: VolumeState, deps: VolumeOrdersDeps) {
    this.#deps = deps;
    this.throttle = new Throttle(state.spec.qos, deps);
    this.#kept = state.snapshots;
    this.#history = state.history;
    const keep = (companyOf: (head: HeadRecord) => HeadCompany) =>
      this.#whole(() => deps.checkpointer.keep(companyOf));
    const past = new PastKeeper({
      ...deps,
      times: deps.heads.times,
      whole: (checkpoint) => this.#whole(checkpoint),
    });
    this.#snapshots = new SnapshotKeeper({ ...deps, keep, past, clientsBefore: state.clients });
    this.#resizer = new Resizer({ ...deps, keep });
    this.#flattener = new Flattener(deps);
    this.#requests = new RequestWatcher(deps.attachment.volume, {
      registry: deps.metadata.requests,
      fulfil: (pending) => this.#fulfil(pending),
      onState: ({ snapshots, history, spec }) => {
        this.#kept = snapshots;
        this.#history = history;
        this.throttle.set(spec.qos);
      },
      clock: deps.clock,
      log: deps.logger,
    });
  }

  /** The name of the kernel's device that this attachment is for; null: of none. */
  get device(): string | null {
    return this.#deps.heads.device;
  }

  /**
   * Something besides the volume's head needs a block that is in its map: cleaning it gives no space back. A page that is live now and was written
   * before a snapshot was live then; blocks of a clone's bases are theirs. What is in the log that the history has stays as it is, and what is older
   * may be cleaned: its space comes back once the history begins after that.
   */
  isPinned({ volume, epoch, index }: BlockRef): boolean {
    if (volume !== this.#deps.attachment.volume) return true;
    const oldest = this.#history?.points.at(0);
    if (
      oldest !== undefined &&
      !isBefore({ epoch, index }, { epoch: oldest.epoch, index: oldest.replayFrom })
    )
      return true;
    return this.#kept.some((kept) => isBefore({ epoch, index }, { epoch: kept.epoch, index: kept.endIndex }));
  }

  /** The history has points that go with the next head. */
  isHistoryExpired(): boolean {
    return this.#history !== null && isExpired(this.#history, this.#deps.clock.wallMs());
  }

  /** From now on requests are seen. */
  open(): void {
    this.#requests.open();
  }

  close(): void {
    this.#requests.close();
    this.throttle.end();
  }

  /** See SnapshotKeeper. */
  async takeSnapshot(wish: SnapshotWish): Promise<SnapshotRecord> {
    this.#requireAttached();
    return this.#snapshots.take(wish);
  }

  /** See Resizer. */
  async resize(wish: ResizeWish): Promise<VolumeSpec> {
    this.#requireAttached();
    return this.#resizer.resize(wish);
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

  #fulfil(pending: PendingRequest): Promise<unknown> {
    const { order } = pending.request;
    switch (order.kind) {
      case "snapshot":
        return this.#snapshots.take({ ...order, token: pending.token }, pending);
      case "resize":
        return this.#resizer.resize(order, pending);
      default:
        return unreachable(order);
    }
  }

  /** As every checkpoint: one that fails ends the attachment, unless it is for want of space, which it says before it has begun. */
  async #whole(checkpoint: () => Promise<HeadRecord | null>): Promise<HeadRecord | null> {
    const { attachment, isLost, lose } = this.#deps;
    try {
      const head = await checkpoint();
      if (!isLost()) return head;
      throw new TorusError("attachment-lost", `volume "${attachment.name}" was lost meanwhile`);
    } catch (error) {
      if (!isTorusError(error, "full") && !isLost()) {
        const claim = `a checkpoint failed: ${messageOf(error)}`;
        lose(new TorusError("attachment-lost", claim, {}, { cause: error }));
      }
      throw error;
    }
  }

  #requireAttached(): void {
    const { name } = this.#deps.attachment;
    if (this.#deps.isLost())
      throw new TorusError("attachment-lost", `volume "${name}" is not attached any more`);
  }
}

interface LogPlace {
  readonly epoch: number;
  readonly index: number;
}

function isBefore(a: LogPlace, b: LogPlace): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.index < b.index);
}
