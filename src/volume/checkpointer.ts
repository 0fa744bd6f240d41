// Checkpointer: commits the map as of one log position as the volume's head, at a cost proportional to what changed since the last.
//
// Order (each step before the next): whole leaves; encode everything synchronously at position P; everything below P durable on
// every member; the INode's blocks durable on theirs; head and logmap in one transaction. Replay from the oldest block that was
// not sealed everywhere when P was taken: replaying what the INode has changes nothing.

import type { Clock, Counter, Log, Metrics } from "#host";
import { sleep } from "#host";
import type { HeadRecord, NodePointer } from "#metadata";
import type { BlockRef, BlockStore, Epoch, PeerId, TorusError, VolumeId } from "#model";
import type { BlockTable, TableEntry } from "./block-table.ts";
import { tableChunkIds } from "./block-table.ts";
import type { ExtentMap } from "./extent-map.ts";
import { encodeRoot, encodeTableChunk } from "./inode-codec.ts";
import { InodeWriter } from "./inode-writer.ts";
import type { LogWriter } from "./log-writer.ts";
import type { PointerTree } from "./pointer-tree.ts";

export interface CheckpointerOptions {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly blockBytes: number;
  readonly sizeBytes: number;
  readonly minReplicas: number;
}

export interface CheckpointerDeps {
  readonly map: ExtentMap;
  readonly table: BlockTable;
  readonly tableTree: PointerTree;
  readonly log: LogWriter;
  /** Resolves when pages of abandoned blocks that were to be appended again have been. */
  readonly moved: () => Promise<void>;
  /** Stops and restarts the appending of new requests, for the moment whole leaves are waited for. */
  readonly pause: () => void;
  readonly resume: () => void;
  readonly commitHead: (head: HeadRecord) => Promise<void>;
  readonly storeOf: (peer: PeerId) => BlockStore;
  readonly membersOf: (ref: BlockRef) => readonly PeerId[];
  readonly ringVersion: () => number;
  readonly onFull: (error: TorusError) => void;
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

const abandonedRetryMs = 10;

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  readonly #deps: CheckpointerDeps;
  readonly #checkpoints: Counter;
  readonly #bytes: Counter;
  #number = 0;
  #nextIndex = 1;
  #running: Promise<void> | null = null;
  #position = 0;

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

  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** Commits a checkpoint of at least everything appended before the call. */
  async run(): Promise<void> {
    while (this.#running !== null) await this.#running.catch(() => {});
    this.#running = this.#checkpoint().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #checkpoint(): Promise<void> {
    while (!this.#deps.isLost() && !(await this.#attempt())) {
      // Blocks were abandoned under it: the next attempt has their pages where they are now.
    }
  }

  /** False when the INode may not become the head; its nodes are put all the same, since later ones share them. */
  async #attempt(): Promise<boolean> {
    const { map, log, clock, logger } = this.#deps;
    this.#number += 1;
    const number = this.#number;
    const inode = new InodeWriter({ ...this.#options, firstIndex: this.#nextIndex });
    const { head, position, abandonments } = await this.#encodeWhenWhole(inode, number);
    this.#nextIndex = inode.nextIndex;
    this.#position = position;
    const settled = await log.waitSettled(position, abandonments);
    await inode.put({ ...this.#deps, minReplicas: this.#options.minReplicas, clock, log: logger });
    if (this.#deps.isLost()) return true;
    if (settled && log.abandonments === abandonments) {
      await this.#deps.commitHead(head);
      log.forgetBefore(head.replayFrom);
      this.#checkpoints.add(1);
    }
    map.committed(number);
    this.#bytes.add(inode.bytes);
    return settled && log.abandonments === abandonments;
  }

  /** Waits until every changed leaf is whole and no abandoned block is live, and encodes in that very turn. */
  async #encodeWhenWhole(inode: InodeWriter, number: number): Promise<Encoded> {
    const { map, log, moved, pause, resume, clock } = this.#deps;
    for (;;) {
      await moved();
      pause();
      try {
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
    const { map, table, log } = this.#deps;
    const place = (bytes: Uint8Array): NodePointer => inode.place(bytes);
    const top = map.encodeDirty(number, place);
    const tableTop = this.#encodeTable(place);
    const { sizeBytes, epoch, blockBytes } = this.#options;
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
