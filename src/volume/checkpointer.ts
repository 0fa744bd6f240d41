// Checkpointer: commits the map as of one log position as the volume's head, at a cost proportional to what changed since the last.
//
// Order (each step before the next): whole leaves; encode everything synchronously at position P; everything below P durable on
// every member; the INode's blocks durable on theirs; head and logmap in one transaction. Replay from the oldest block that was
// not sealed everywhere when P was taken: replaying what the INode has changes nothing.
//
// A checkpoint that is kept as a snapshot is sealed: appending stops until every block below P is sealed everywhere. Its INode names
// no open block, so that it needs no replay, and outlives the log that goes on behind it [C5].

import type { Clock, Counter, Log, Metrics } from "#host";
import { sleep } from "#host";
import type { HeadCompany, HeadRecord, NodePointer } from "#metadata";
import type { BlockRef, BlockStore, Epoch, PeerId, TorusError, VolumeId } from "#model";
import type { BlockTable, TableEntry } from "./block-table.ts";
import { tableChunkIds } from "./block-table.ts";
import type { ExtentMap } from "./extent-map.ts";
import { encodeRoot, encodeTableChunk } from "./inode-codec.ts";
import { InodeWriter } from "./inode-writer.ts";
import type { LogWriter } from "./log-writer.ts";
import type { PointerTree } from "./pointer-tree.ts";
import { SilentPeers } from "./silent-peers.ts";
import type { VolumeSize } from "./volume-size.ts";

export interface CheckpointerOptions {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly blockBytes: number;
  readonly minReplicas: number;
}

export interface CheckpointerDeps {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly tableTree: PointerTree;
  readonly log: LogWriter;
  readonly size: VolumeSize;
  /** Resolves when pages of abandoned blocks that were to be appended again have been. */
  readonly moved: () => Promise<void>;
  /** Stops and restarts the appending of new requests, for the moment whole leaves are waited for. */
  readonly pause: () => void;
  readonly resume: () => void;
  /** False when `company` was refused, and nothing committed. */
  readonly commitHead: (head: HeadRecord, company: HeadCompany | null) => Promise<boolean>;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly membersOf: (ref: BlockRef, without: readonly PeerId[]) => readonly PeerId[];
  readonly ringVersion: () => number;
  readonly onFull: (error: TorusError) => void;
  /** A checkpoint failed that nobody waits for any more. */
  readonly onFailed: (error: unknown) => void;
  readonly isLost: () => boolean;
  readonly clock: Clock;
  readonly logger: Log;
  readonly metrics: Metrics;
}

/** An INode, and what the log was in the turn in which it was encoded. */
interface Encoded {
  readonly head: HeadRecord;
  readonly position: number;
  readonly abandonments: number;
}

/** A checkpoint to be kept. */
interface Keeping {
  readonly companyOf: (head: HeadRecord) => HeadCompany;
  /** Nobody waits for it any more: its head is committed alone. */
  isWithdrawn: boolean;
  /** The head as it was committed with its company. */
  kept: HeadRecord | null;
}

const abandonedRetryMs = 10;

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  readonly #deps: CheckpointerDeps;
  readonly #checkpoints: Counter;
  readonly #bytes: Counter;
  readonly #silent = new SilentPeers();
  #number = 0;
  #nextIndex = 1;
  #running: Promise<void> | null = null;
  #position = 0;
  #root: NodePointer | null = null;
  /** Those who will not wait for space. */
  readonly #impatient = new Set<(error: TorusError) => void>();

  constructor(options: CheckpointerOptions, deps: CheckpointerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#checkpoints = deps.metrics.counter("torus_volume_checkpoints_total", "Checkpoints committed");
    this.#bytes = deps.metrics.counter(
      "torus_volume_checkpoint_bytes_total",
      "Bytes of INode nodes written, one copy",
    );
  }

  /** Log position of the last committed (or begun) checkpoint. */
  get position(): number {
    return this.#position;
  }

  /** The INode whose leaves the map takes for committed: the head, or one that will never be it, but is there to be read. */
  get root(): NodePointer | null {
    return this.#root;
  }

  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** Commits a checkpoint of at least everything appended before the call. */
  run(): Promise<void> {
    return this.#run(null);
  }

  /** The same; rejects with `full` where it would have to wait for space. The checkpoint goes on when there is some. */
  runUnlessFull(): Promise<void> {
    return this.#unlessFull(this.#run(null), () => {});
  }

  /**
   * The same, sealed, in one transaction with what `companyOf` says of its head. Null when that was refused; the head is committed without it then.
   * Rejects with `full`, and keeps nothing, where it would have to wait for space.
   */
  async keep(companyOf: (head: HeadRecord) => HeadCompany): Promise<HeadRecord | null> {
    const keeping: Keeping = { companyOf, isWithdrawn: false, kept: null };
    await this.#unlessFull(this.#run(keeping), () => {
      keeping.isWithdrawn = true;
    });
    return keeping.kept;
  }

  /** Nothing of a checkpoint that was encoded may be left out, since later ones share its nodes: it is left to itself instead. */
  #unlessFull(run: Promise<void>, withdraw: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = (error: TorusError): void => {
        this.#impatient.delete(giveUp);
        withdraw();
        reject(error);
      };
      this.#impatient.add(giveUp);
      run.then(resolve, (error: unknown) => {
        if (this.#impatient.has(giveUp)) reject(error as Error);
        else this.#deps.onFailed(error);
      });
      run.catch(() => {}).finally(() => this.#impatient.delete(giveUp));
    });
  }

  #full(error: TorusError): void {
    this.#deps.onFull(error);
    for (const giveUp of [...this.#impatient]) giveUp(error);
  }

  async #run(keeping: Keeping | null): Promise<void> {
    while (this.#running !== null) await this.#running.catch(() => {});
    this.#running = this.#checkpoint(keeping).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #checkpoint(keeping: Keeping | null): Promise<void> {
    while (!this.#deps.isLost() && !(await this.#attempt(keeping))) {
      // Blocks were abandoned under it: the next attempt has their pages where they are now. They leave the log with a checkpoint
      // that is committed, which one that waits for the log to be sealed would wait for.
      if (keeping !== null) await this.#attempt(null);
    }
  }

  /** False when the INode may not become the head; its nodes are put all the same, since later ones share them. */
  async #attempt(keeping: Keeping | null): Promise<boolean> {
    const { map, log, clock, logger } = this.#deps;
    this.#number += 1;
    const number = this.#number;
    const inode = new InodeWriter({ ...this.#options, firstIndex: this.#nextIndex });
    const encoded = await this.#encodeWhenWhole(inode, number, keeping !== null);
    if (encoded === null) return false;
    const { head, position, abandonments } = encoded;
    this.#nextIndex = inode.nextIndex;
    this.#position = position;
    const settled = await log.waitSettled(position, abandonments);
    const { minReplicas } = this.#options;
    const onFull = (error: TorusError): void => this.#full(error);
    await inode.put({ ...this.#deps, onFull, silent: this.#silent, minReplicas, clock, log: logger });
    if (this.#deps.isLost()) return true;
    if (settled && log.abandonments === abandonments) {
      await this.#commit(head, keeping);
      log.forgetBefore(head.replayFrom);
      this.#checkpoints.add(1);
    }
    this.#root = head.root;
    map.committed(number);
    this.#bytes.add(inode.bytes);
    return settled && log.abandonments === abandonments;
  }

  async #commit(head: HeadRecord, keeping: Keeping | null): Promise<void> {
    const { commitHead } = this.#deps;
    if (keeping?.isWithdrawn === false && (await commitHead(head, keeping.companyOf(head))))
      keeping.kept = head;
    else await commitHead(head, null);
  }

  /**
   * Waits until every changed leaf is whole and no abandoned block is live, and encodes in that very turn. With `sealed` also until every block is
   * sealed on all its members; null when some were abandoned instead.
   */
  async #encodeWhenWhole(inode: InodeWriter, number: number, sealed: boolean): Promise<Encoded | null> {
    const { map, log, moved, pause, resume, clock } = this.#deps;
    for (;;) {
      await moved();
      // What is on its way gets there before appending stops, so that it stops for a moment only.
      if (sealed) await log.waitSettled(log.position, log.abandonments, true);
      pause();
      try {
        if (sealed && !(await log.seal())) return null;
        for (let loads = map.loads(); loads !== null; loads = map.loads()) await loads;
        if (!log.hasLiveAbandoned) {
          log.closeBatch();
          const head = this.#encode(inode, number);
          return { head, position: log.position, abandonments: log.abandonments };
        }
      } finally {
        resume();
      }
      await sleep(clock, abandonedRetryMs);
    }
  }

  /** Everything as of now, in one turn. */
  #encode(inode: InodeWriter, number: number): HeadRecord {
    const { map, table, log, size } = this.#deps;
    const place = (bytes: Uint8Array): NodePointer => inode.place(bytes);
    const top = map.encodeDirty(number, place);
    const tableTop = this.#encodeTable(place);
    const { epoch, blockBytes } = this.#options;
    const sizeBytes = size.nextBytes;
    const root = place(encodeRoot({ sizeBytes, livePages: table.livePages, map: top, table: tableTop }));
    const replay = log.replayPoint();
    const end = log.endPoint();
    const { liveBytes, logBytes } = table.space(blockBytes);
    return {
      epoch,
      root,
      ringVersion: this.#deps.ringVersion(),
      replayFrom: replay.index,
      sequence: replay.sequence,
      previous: replay.previous,
      positionIndex: end.index,
      positionOffset: end.offset,
      usedBytes: liveBytes,
      logBytes,
      ended: log.isEnded,
    };
  }

  #encodeTable(place: (bytes: Uint8Array) => NodePointer): NodePointer | null {
    const { table, tableTree } = this.#deps;
    for (const chunk of table.takeDirtyChunks()) {
      const entries = new Map<number, TableEntry>();
      for (let slot = 0; slot < tableChunkIds; slot++) {
        const entry = table.entry(chunk * tableChunkIds + slot);
        if (entry !== null) entries.set(slot, entry);
      }
      tableTree.set(chunk, entries.size === 0 ? null : place(encodeTableChunk(entries)));
    }
    return tableTree.encodeDirty(place);
  }
}
