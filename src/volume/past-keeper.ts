// PastKeeper: keeps what a volume was at a time as a snapshot. The writer does it: it rebuilds that map from the history, beside its own, and commits its INode
// with a checkpoint, in one transaction that is guarded by the history: the point it was rebuilt from, and so all of the log behind that, was needed without
// a break until the snapshot needs it [C6].

import type { Reader } from "#distributor";
import type { Clock, Log } from "#host";
import type {
  ClusterMetadata,
  FoundHistory,
  HeadRecord,
  HistoryPoint,
  PendingRequest,
  SnapshotRecord,
  WriterAttachment,
} from "#metadata";
import { noCompany } from "#metadata";
import type { BlockStore, PeerId } from "#model";
import { blockRefKey, TorusError } from "#model";
import type { Checkpointer } from "./checkpointer.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { Past } from "./past.ts";
import { openPast, timeText } from "./past.ts";
import type { RecordTime } from "./record-time.ts";
import type { SnapshotWish } from "./snapshot-keeper.ts";

export interface PastKeeperDeps {
  readonly metadata: ClusterMetadata;
  readonly attachment: WriterAttachment;
  readonly checkpointer: Checkpointer;
  readonly times: RecordTime;
  /** Of blocks, by their refs. */
  readonly blocks: Reader;
  readonly view: ClusterView;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly isLost: () => boolean;
  /** Runs a checkpoint, whose failure ends the attachment. */
  readonly whole: (checkpoint: () => Promise<HeadRecord | null>) => Promise<HeadRecord | null>;
  readonly clock: Clock;
  readonly logger: Log;
}

export interface PastWish extends SnapshotWish {
  readonly atMs: number;
}

/** The history changes when a point is added or dropped, which may be just while it is read. */
const attemptsMax = 3;

export class PastKeeper {
  readonly #deps: PastKeeperDeps;

  constructor(deps: PastKeeperDeps) {
    this.#deps = deps;
  }

  /**
   * Rejects with `not-found` when the volume keeps no history, or not so far back; `invalid-argument` for a time to come; `incomplete`, `limit` (openPast);
   * `conflict` when the history was given up meanwhile, or the request withdrawn; `full` when the log cannot be finished.
   */
  async take(wish: PastWish, pending: PendingRequest | null): Promise<SnapshotRecord> {
    const { clock, logger } = this.#deps;
    const startedMs = clock.monotonicMs();
    for (let attempt = 1; ; attempt++) {
      const taken = await this.#attempt(wish, pending);
      if (taken !== null) {
        const ms = Math.round(clock.monotonicMs() - startedMs);
        logger.info("took a snapshot of the past", { snapshot: wish.name, at: timeText(wish.atMs), ms });
        return taken;
      }
      if (attempt < attemptsMax) continue;
      const claim = `snapshot "${wish.name}" of ${timeText(wish.atMs)} was not taken: its request was withdrawn, or the history changed again and again; try again`;
      throw new TorusError("conflict", claim);
    }
  }

  async #attempt(wish: PastWish, pending: PendingRequest | null): Promise<SnapshotRecord | null> {
    const { checkpointer, metadata, attachment, whole, view } = this.#deps;
    const nowMs = this.#requirePast(wish.atMs);
    // All that is of that time is in sealed blocks then, and in the log that the history has.
    const sealed = await whole(() => checkpointer.keep(() => noCompany));
    if (sealed === null) throw this.#isOver();
    const { history } = await this.#history();
    const end = { epoch: attachment.epoch, index: sealed.replayFrom };
    const { volume, name } = attachment;
    const atMs = Math.min(wish.atMs, nowMs);
    const past = await openPast(
      { volume, name, history, atMs, end },
      { ...this.#deps, reader: this.#deps.blocks },
    );
    const now = await this.#history();
    if (!now.history.points.some((point) => isSame(point, past.point))) throw this.#isGivenUp(wish);
    let record: SnapshotRecord | null = null;
    const head = await whole(() =>
      checkpointer.keepOther(
        (place) => past.encode(place),
        (_, root) => {
          const { liveBytes, logBytes } = past.space(view.cluster.blockBytes);
          const ringVersion = view.ring.version;
          record = recordOf(wish, past, { root, ringVersion, usedBytes: liveBytes, logBytes });
          return metadata.snapshots.naming(volume, record, pending, now.revision);
        },
      ),
    );
    return head === null ? null : record;
  }

  /** A time of which no record can come any more. */
  #requirePast(atMs: number): number {
    const { clock, times } = this.#deps;
    const nowMs = clock.wallMs();
    if (atMs > nowMs) {
      throw new TorusError(
        "invalid-argument",
        `${timeText(atMs)} is to come by the clock of the volume's writer, which has ${timeText(nowMs)}`,
      );
    }
    times.notBefore(Math.floor(atMs) + 1);
    return nowMs;
  }

  async #history(): Promise<FoundHistory> {
    const { metadata, attachment } = this.#deps;
    const { volume, name } = attachment;
    const found = await metadata.history.load(volume);
    if (found !== null) return found;
    throw new TorusError(
      "not-found",
      `volume "${name}" keeps no history: torusctl volume set ${name} --keep-history 24h begins one`,
    );
  }

  #isOver(): TorusError {
    return new TorusError("attachment-lost", `volume "${this.#deps.attachment.name}" was lost meanwhile`);
  }

  #isGivenUp({ atMs }: PastWish): TorusError {
    const { name } = this.#deps.attachment;
    return new TorusError(
      "conflict",
      `the history of volume "${name}" at ${timeText(atMs)} was given up meanwhile`,
    );
  }
}

function isSame(a: HistoryPoint, b: HistoryPoint): boolean {
  const isSameRoot = a.root.checksum === b.root.checksum && a.root.offset === b.root.offset;
  return isSameRoot && blockRefKey(a.root.ref) === blockRefKey(b.root.ref) && a.timeMs === b.timeMs;
}

function recordOf(
  { name, labels, token, atMs }: PastWish,
  past: Past,
  of: Pick<SnapshotRecord, "root" | "ringVersion" | "usedBytes" | "logBytes">,
): SnapshotRecord {
  const { sizeBytes, end } = past;
  return { name, createdMs: atMs, token, sizeBytes, epoch: end.epoch, endIndex: end.index, ...of, labels };
}
