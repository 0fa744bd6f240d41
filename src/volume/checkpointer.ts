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
import { assert } from "#model";
import type { BlockTable } from "./block-table.ts";
import type { ExtentMap } from "./extent-map.ts";
import type { HeadMark } from "./head-keeper.ts";
import { encodeInode } from "./inode-encoder.ts";
import { InodeWriter } from "./inode-writer.ts";
import type { LogWriter } from "./log-writer.ts";
import type { PlaceNode, PointerTree } from "./pointer-tree.ts";
import type { RecordTime } from "./record-time.ts";
import { SilentPeers } from "./silent-peers.ts";
import { attachFullPatienceMs } from "./space-keeper.ts";
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
  readonly times: RecordTime;
  /** Resolves when pages of abandoned blocks that were to be appended again have been. */
  readonly moved: () => Promise<void>;
  /** Stops and restarts the appending of new requests, for the moment whole leaves are waited for. */
  readonly pause: () => void;
  readonly resume: () => void;
  /** False when `company` was refused, and nothing committed. */
  readonly commitHead: (head: HeadRecord, mark: HeadMark, company: HeadCompany | null) => Promise<boolean>;
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
  readonly companyOf: (head: HeadRecord, other: NodePointer | null) => HeadCompany;
  /** Another INode that is kept with it, which nothing names before. */
  readonly encodeOther: EncodeInode | null;
  other: NodePointer | null;
  /** Nobody waits for it any more: its head is committed alone. */
  isWithdrawn: boolean;
  /** The head as it was committed with its company. */
  kept: HeadRecord | null;
}

/** Places the nodes of an INode and returns where its root is. Once: what it placed is not placed again. */
export type EncodeInode = (place: PlaceNode) => NodePointer;

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
  /** Of the log, at the last head. */
  #committedAbandonments = 0;
  #fullSinceMs: number | null = null;
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
  keep(companyOf: (head: HeadRecord) => HeadCompany): Promise<HeadRecord | null> {
    return this.#keep({ companyOf, encodeOther: null, other: null, isWithdrawn: false, kept: null });
  }

  /**
   * The same, with an INode besides the head's own, whose nodes lie below the head's root: until this head nobody collects them, and from then on
   * `companyOf` must keep it. Null also when it must be made anew: a head without it may have let go of its nodes.
   */
  keepOther(
    encodeOther: EncodeInode,
    companyOf: (head: HeadRecord, other: NodePointer) => HeadCompany,
  ): Promise<HeadRecord | null> {
    const withOther = (head: HeadRecord, other: NodePointer | null): HeadCompany => {
      assert(other !== null, "the other INode is encoded before the head");
      return companyOf(head, other);
    };
    return this.#keep({ companyOf: withOther, encodeOther, other: null, isWithdrawn: false, kept: null });
  }

  async #keep(keeping: Keeping): Promise<HeadRecord | null> {
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

  /** It is put again and again; its owner hears of it when that has not helped for long. */
  #full(error: TorusError): void {
    const nowMs = this.#deps.clock.monotonicMs();
    this.#fullSinceMs ??= nowMs;
    if (nowMs - this.#fullSinceMs >= attachFullPatienceMs) this.#deps.onFull(error);
    for (const giveUp of [...this.#impatient]) giveUp(error);
  }

  async #run(keeping: Keeping | null): Promise<void> {
    while (this.#running !== null) await this.#running.catch(() => {});
    this.#running = this.#checkpoint(keeping).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #checkpoint(wanted: Keeping | null): Promise<void> {
    let keeping = wanted;
    while (!this.#deps.isLost() && !(await this.#attempt(keeping))) {
      // Blocks were abandoned under it: the next attempt has their pages where they are now. They leave the log with a checkpoint
      // that is committed, which one that waits for the log to be sealed would wait for.
      if (keeping !== null) await this.#attempt(null);
      if (keeping?.encodeOther != null) keeping = null;
    }
  }

  /** False when the INode may not become the head; its nodes are put all the same, since later ones share them. */
  async #attempt(keeping: Keeping | null): Promise<boolean> {
    const { map, log, clock, logger } = this.#deps;
    this.#number += 1;
    const number = this.#number;
    const inode = new InodeWriter({ ...this.#options, firstIndex: this.#nextIndex });
    if (keeping?.encodeOther != null) keeping.other = keeping.encodeOther((bytes) => inode.place(bytes));
    const encoded = await this.#encodeWhenWhole(inode, number, keeping !== null);
    if (encoded === null) return false;
    const { head, position, abandonments } = encoded;
    this.#nextIndex = inode.nextIndex;
    this.#position = position;
    const settled = await log.waitSettled(position, abandonments);
    const { minReplicas } = this.#options;
    const onFull = (error: TorusError): void => this.#full(error);
    await inode.put({ ...this.#deps, onFull, silent: this.#silent, minReplicas, clock, log: logger });
    this.#fullSinceMs = null;
    if (this.#deps.isLost()) return true;
    if (settled && log.abandonments === abandonments) {
      await this.#commit(head, abandonments, keeping);
      log.forgetBefore(head.replayFrom);
      this.#checkpoints.add(1);
    }
    this.#root = head.root;
    map.committed(number);
    this.#bytes.add(inode.bytes);
    return settled && log.abandonments === abandonments;
  }

  async #commit(head: HeadRecord, abandonments: number, keeping: Keeping | null): Promise<void> {
    const { commitHead } = this.#deps;
    const { blockBytes } = this.#options;
    const sizeBytes = this.#deps.size.nextBytes;
    // Abandoned blocks are nobody's: a replay from before them does not get past them.
    const isBreak = abandonments !== this.#committedAbandonments;
    const mark = { sizeBytes, blockBytes, isBreak };
    const company = keeping?.isWithdrawn === false ? keeping.companyOf(head, keeping.other) : null;
    if (company !== null && keeping !== null && (await commitHead(head, mark, company))) keeping.kept = head;
    else await commitHead(head, mark, null);
    this.#committedAbandonments = abandonments;
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
    const { table, log, times, size } = this.#deps;
    const { epoch, blockBytes } = this.#options;
    // Whoever asks for a time before has the size of before.
    if (size.nextBytes !== size.bytes) times.next();
    const root = encodeInode(this.#deps, size.nextBytes, number, (bytes) => inode.place(bytes));
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
      timeMs: times.lastMs,
      // HeadKeeper knows of one.
      device: null,
    };
  }
}
