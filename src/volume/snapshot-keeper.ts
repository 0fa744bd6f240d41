// SnapshotKeeper: what an attached volume does to keep an INode: commits a sealed checkpoint and its name in one transaction, guarded by
// the writer's epoch, so that the name stands for exactly the head it came with [C6, C23]. And to go back to one: the last
// act of an attachment.

import type { Clock, Log } from "#host";
import type {
  ClientsRecord,
  CutRecord,
  FoundSnapshot,
  HeadRecord,
  PendingRequest,
  SnapshotRecord,
  SnapshotRegistry,
  WriterAttachment,
} from "#metadata";
import { requireName, snapshotsMax } from "#metadata";
import { assert, isTorusError, messageOf, TorusError } from "#model";
import type { Checkpointer } from "./checkpointer.ts";
import type { HeadKeeper } from "./head-keeper.ts";
import type { LogWriter } from "./log-writer.ts";

/** A snapshot that somebody wants. */
export interface SnapshotWish {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Random: whoever asks knows his snapshot again by it. */
  readonly token: string;
}

export interface SnapshotKeeperDeps {
  readonly registry: SnapshotRegistry;
  readonly attachment: WriterAttachment;
  readonly heads: HeadKeeper;
  /** Who was served before this attachment and may come back. */
  readonly clientsBefore: ClientsRecord | null;
  readonly checkpointer: Checkpointer;
  readonly log: LogWriter;
  readonly isLost: () => boolean;
  /** A head could not be committed: the attachment is over. */
  readonly lose: (error: TorusError) => void;
  readonly clock: Clock;
  readonly logger: Log;
}

export class SnapshotKeeper {
  readonly #sizeBytes: number;
  readonly #deps: SnapshotKeeperDeps;

  constructor(options: { readonly sizeBytes: number }, deps: SnapshotKeeperDeps) {
    this.#sizeBytes = options.sizeBytes;
    this.#deps = deps;
  }

  /**
   * Keeps the volume as it is at some moment of this call, everything answered before it included. `pending`: the request that it fulfils, which goes in the same
   * transaction. Rejects with `already-exists`, `limit`, `full` (no space to finish the log), `conflict` when the request was withdrawn, or with
   * what ended the attachment.
   */
  async take(wish: SnapshotWish, pending: PendingRequest | null = null): Promise<SnapshotRecord> {
    return (await this.#take(wish, pending)).snapshot;
  }

  /**
   * Keeps the present as `wish`, then makes the snapshot's INode the head, with nothing to replay: the log of this epoch ends before it [C23]. Nothing
   * may be in flight; the attachment commits nothing afterwards and must be let go of. `not-found` when the snapshot is gone by then.
   */
  async restore(target: FoundSnapshot, wish: SnapshotWish): Promise<SnapshotRecord> {
    const { registry, attachment, heads, log, checkpointer, logger } = this.#deps;
    const { snapshot, volume } = target;
    assert(volume.spec.id === attachment.volume, "a snapshot goes back into its own volume");
    if (snapshot.sizeBytes !== this.#sizeBytes) {
      throw new TorusError(
        "unsupported",
        `snapshot "${snapshot.name}" is of ${snapshot.sizeBytes} bytes and the volume has ${this.#sizeBytes}: clone it instead`,
      );
    }
    const present = await this.#take(wish, null);
    if (log.position !== checkpointer.position)
      throw new TorusError("conflict", `volume "${attachment.name}" was written to while it was restored`);
    const { root, ringVersion, usedBytes, logBytes } = snapshot;
    const head: HeadRecord = { ...present.head, root, ringVersion, usedBytes, logBytes, ended: true };
    const company = registry.restoring(target, this.#cut());
    if (!(await heads.commitLastHead(head, log.placement.logmap, company))) {
      throw new TorusError("not-found", `snapshot "${snapshot.name}" was deleted while it was restored`);
    }
    logger.info("restored a snapshot", { snapshot: snapshot.name, kept: wish.name });
    return present.snapshot;
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
    const { registry, attachment, checkpointer, clock, logger, isLost } = this.#deps;
    await this.#requireRoom(wish);
    let snapshot: SnapshotRecord | null = null;
    const startedMs = clock.monotonicMs();
    const head = await this.#whole(() =>
      checkpointer.keep((made) => {
        snapshot = this.#recordOf(wish, made);
        return registry.naming(attachment.volume, snapshot, pending);
      }),
    );
    if (isLost()) throw new TorusError("attachment-lost", `volume "${attachment.name}" was lost meanwhile`);
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
    const sizeBytes = this.#sizeBytes;
    const of = { token, sizeBytes, epoch, root, endIndex: head.replayFrom, ringVersion, usedBytes, logBytes };
    return { name, createdMs, ...of, labels };
  }

  /** As every checkpoint: one that fails ends the attachment, unless it is for want of space, which it says before it has begun. */
  async #whole<Result>(checkpoint: () => Promise<Result>): Promise<Result> {
    try {
      return await checkpoint();
    } catch (error) {
      if (!isTorusError(error, "full") && !this.#deps.isLost()) {
        const claim = `a checkpoint failed: ${messageOf(error)}`;
        this.#deps.lose(new TorusError("attachment-lost", claim, {}, { cause: error }));
      }
      throw error;
    }
  }

  async #requireRoom({ name }: SnapshotWish): Promise<void> {
    const { registry, attachment } = this.#deps;
    requireName(name, "snapshot");
    const { volume } = await registry.requests(attachment.volume);
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
