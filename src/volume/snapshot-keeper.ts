// SnapshotKeeper: what an attached volume does to keep an INode: commits a sealed checkpoint and its name in one transaction, guarded by
// the writer's epoch, so that the name stands for exactly the head it came with [C6, C23]. And to go back to one: the last
// act of an attachment.

import type { Clock, Log } from "#host";
import type {
  ClientsRecord,
  ClusterMetadata,
  CutRecord,
  FoundSnapshot,
  HeadCompany,
  HeadRecord,
  PendingRequest,
  SnapshotRecord,
  WriterAttachment,
} from "#metadata";
import { joined, noCompany, requireName, snapshotsMax } from "#metadata";
import { assert, TorusError } from "#model";
import type { Checkpointer } from "./checkpointer.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { HeadKeeper } from "./head-keeper.ts";
import type { LogWriter } from "./log-writer.ts";
import type { PastKeeper } from "./past-keeper.ts";
import type { VolumeSize } from "./volume-size.ts";

/** A snapshot that somebody wants. */
export interface SnapshotWish {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Random: whoever asks knows his snapshot again by it. */
  readonly token: string;
  /** What the volume was then, as far as its history has it; null: what it is. */
  readonly atMs: number | null;
}

export interface SnapshotKeeperDeps {
  readonly metadata: ClusterMetadata;
  readonly attachment: WriterAttachment;
  readonly heads: HeadKeeper;
  /** Who was served before this attachment and may come back. */
  readonly clientsBefore: ClientsRecord | null;
  readonly checkpointer: Checkpointer;
  readonly log: LogWriter;
  readonly size: VolumeSize;
  readonly past: PastKeeper;
  readonly view: ClusterView;
  /** A sealed checkpoint in company; null when that was refused. Rejects with `full`, or with what ended the attachment. */
  readonly keep: (companyOf: (head: HeadRecord) => HeadCompany) => Promise<HeadRecord | null>;
  readonly clock: Clock;
  readonly logger: Log;
}

/** Others may change the volume's spec meanwhile. */
const restoreAttemptsMax = 8;

export class SnapshotKeeper {
  readonly #deps: SnapshotKeeperDeps;

  constructor(deps: SnapshotKeeperDeps) {
    this.#deps = deps;
  }

  /**
   * Keeps the volume as it is at some moment of this call, everything answered before it included, or as it was (PastKeeper). `pending`: the request that it fulfils, which goes in the same
   * transaction. Rejects with `already-exists`, `limit`, `full` (no space to finish the log), `conflict` when the request was withdrawn, or with
   * what ended the attachment.
   */
  async take(wish: SnapshotWish, pending: PendingRequest | null = null): Promise<SnapshotRecord> {
    const { atMs } = wish;
    if (atMs === null) return (await this.#take(wish, pending)).snapshot;
    await this.#requireRoom(wish);
    return this.#deps.past.take({ ...wish, atMs }, pending);
  }

  /**
   * Keeps the present as `wish`, then makes the snapshot's INode the head, with nothing to replay: the log of this epoch ends before it [C23]. Nothing
   * may be in flight; the attachment commits nothing afterwards and must be let go of. `not-found` when the snapshot is gone by then.
   */
  async restore(target: FoundSnapshot, wish: SnapshotWish): Promise<SnapshotRecord> {
    const { attachment, log, heads, checkpointer, logger } = this.#deps;
    const { snapshot, volume } = target;
    assert(volume.spec.id === attachment.volume, "a snapshot goes back into its own volume");
    const present = await this.#take(wish, null);
    if (log.position !== checkpointer.position)
      throw new TorusError("conflict", `volume "${attachment.name}" was written to while it was restored`);
    const { root, ringVersion, usedBytes, logBytes } = snapshot;
    // Whoever asks for the volume as of now, or later, gets what it was put back to.
    const timeMs = heads.times.next();
    const head: HeadRecord = { ...present.head, root, ringVersion, usedBytes, logBytes, ended: true, timeMs };
    await this.#become(head, target);
    logger.info("restored a snapshot", { snapshot: snapshot.name, kept: wish.name });
    return present.snapshot;
  }

  /** Commits the restored head, with the size that the volume had then. */
  async #become(head: HeadRecord, target: FoundSnapshot): Promise<void> {
    const { metadata, attachment, heads, log, view } = this.#deps;
    const { name, sizeBytes } = target.snapshot;
    const mark = { sizeBytes, blockBytes: view.cluster.blockBytes, isBreak: true };
    for (let attempt = 0; attempt < restoreAttemptsMax; attempt++) {
      const volume = await metadata.volumes.load(attachment.volume);
      const restoring = metadata.snapshots.restoring(target, this.#cut());
      const resizing = metadata.volumes.resizing(volume, sizeBytes);
      const company = joined(restoring, volume.spec.sizeBytes === sizeBytes ? noCompany : resizing);
      if (await heads.commitLastHead(log.placement.logmap, head, mark, company)) return;
      if (!volume.snapshots.some(({ token }) => token === target.snapshot.token)) break;
    }
    throw new TorusError("not-found", `snapshot "${name}" was deleted while it was restored`);
  }

  /** Those who may come back have parts of another state of the volume in memory. */
  #cut(): CutRecord | null {
    const { attachment, clientsBefore, clock } = this.#deps;
    if (clientsBefore === null) return null;
    return {
      epoch: attachment.epoch,
      atMs: Math.floor(clock.wallMs()),
      previousHolder: clientsBefore.holder,
    };
  }

  async #take(
    wish: SnapshotWish,
    pending: PendingRequest | null,
  ): Promise<{ snapshot: SnapshotRecord; head: HeadRecord }> {
    const { metadata, attachment, keep, clock, logger } = this.#deps;
    await this.#requireRoom(wish);
    let snapshot: SnapshotRecord | null = null;
    const startedMs = clock.monotonicMs();
    const head = await keep((made) => {
      snapshot = this.#recordOf(wish, made);
      return metadata.snapshots.naming(attachment.volume, snapshot, pending);
    });
    if (head === null || snapshot === null) {
      await this.#requireRoom(wish);
      throw new TorusError("conflict", `the request for snapshot "${wish.name}" was withdrawn`);
    }
    logger.info("took a snapshot", { snapshot: wish.name, ms: Math.round(clock.monotonicMs() - startedMs) });
    return { snapshot, head };
  }

  #recordOf({ name, labels, token }: SnapshotWish, head: HeadRecord): SnapshotRecord {
    const { epoch, root, ringVersion, usedBytes, logBytes } = head;
    assert(root !== null, "a checkpoint has a root");
    const createdMs = this.#deps.clock.wallMs();
    const sizeBytes = this.#deps.size.bytes;
    const of = { token, sizeBytes, epoch, root, endIndex: head.replayFrom, ringVersion, usedBytes, logBytes };
    return { name, createdMs, ...of, labels };
  }

  async #requireRoom({ name }: SnapshotWish): Promise<void> {
    const { metadata, attachment } = this.#deps;
    requireName(name, "snapshot");
    const volume = await metadata.volumes.load(attachment.volume);
    requireSnapshotRoom(attachment.name, volume.snapshots, name);
  }
}

/** `already-exists` or `limit` when a volume with these snapshots cannot have one more called `name`. */
export function requireSnapshotRoom(
  volume: string,
  snapshots: readonly SnapshotRecord[],
  name: string,
): void {
  if (snapshots.some((snapshot) => snapshot.name === name)) {
    throw new TorusError(
      "already-exists",
      `volume "${volume}" has a snapshot "${name}" already: choose another name, or delete it first`,
    );
  }
  if (snapshots.length >= snapshotsMax) {
    throw new TorusError("limit", `volume "${volume}" has ${snapshotsMax} snapshots: delete some first`);
  }
}
