// One backup of a volume: a snapshot's changed chunks go to the target, then the record that names them all.
//
// Invariants:
// - The record is put when every chunk and index it leads to is durable, and stays only if nobody took this run for dead meanwhile.
// - What a chunk has is what the snapshot has: a chunk is left as the parent has it only where the difference of the two snapshots has no page.
// - Stopped at any point, by whatever, it leaves a target that is good, and an unfinished record from which the next run goes on.

import type { Clock, Random } from "#host";
import { messageOf } from "#model";
import { chooseBase } from "./backup-base.ts";
import { ChangedChunks } from "./changed-chunks.ts";
import { segmentChunks } from "./chunk-codec.ts";
import { InFlight } from "./in-flight.ts";
import type { BackupHead, BackupManifest, SegmentDone } from "./manifest-codec.ts";
import { segmentsOf } from "./manifest-codec.ts";
import type { Repository } from "./repository.ts";
import type { OpenSnapshot, SourceSnapshot, SourceVolume } from "./source-volume.ts";
import { requireGoingOn } from "./stop-request.ts";
import { declareEnded, TargetLock } from "./target-lock.ts";
import { isAllZero } from "./zero-pages.ts";

export interface BackupProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface BackupOptions {
  /** Of the volume; null: one is taken, and kept as the base of the next backup. */
  readonly snapshot: string | null;
  readonly holder: string;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: BackupProgress) => void;
  /** Things to know that are no failure. */
  readonly tell: (message: string) => void;
  readonly saveEveryMs?: number;
}

export interface BackupDeps {
  readonly repository: Repository;
  readonly source: SourceVolume;
  readonly clock: Clock;
  readonly random: Random;
}

export interface BackupDone {
  readonly manifest: BackupManifest;
  /** It went on where a run before had ended. */
  readonly isResumed: boolean;
}

const chunksAtOnce = 16;
const saveEveryMsDefault = 5000;

/** Rejects with `busy`, `not-found`, `closed` when it was stopped, or with what volume and target met. */
export async function makeBackup(options: BackupOptions, deps: BackupDeps): Promise<BackupDone> {
  const { repository, source, clock, random } = deps;
  const { target } = repository;
  const lockOptions = { kind: "backup", holder: options.holder, onWait: options.tell } as const;
  const lock = await TargetLock.take(lockOptions, { target, clock, random });
  try {
    const base = await chooseBase(options, { ...deps, lock: lock.id });
    // A run before that ended without a word: its lock would hold up who wants to delete.
    if (base.lockBefore !== null) await declareEnded(target, base.lockBefore, options.holder);
    const opened = await source.open(base.head.snapshot);
    try {
      const manifest = await new BackupRun(base, opened, lock, options, deps).run();
      if (base.isOwnSnapshot) await dropOldSnapshots(manifest, options, deps);
      return { manifest, isResumed: base.isResumed };
    } finally {
      await opened.close();
    }
  } finally {
    await lock
      .release()
      .catch((error: unknown) => options.tell(`the lock stays for a while: ${messageOf(error)}`));
  }
}

/** Snapshots that were kept for this target and are no base any more. */
async function dropOldSnapshots(
  { snapshot }: BackupHead,
  { tell }: BackupOptions,
  { repository, source }: BackupDeps,
): Promise<void> {
  try {
    for (const old of await source.snapshots())
      if (isKeptFor(old, repository) && old.token !== snapshot.token) await source.remove(old);
  } catch (error) {
    tell(`snapshots of backups before could not be deleted: ${messageOf(error)}`);
  }
}

/** Label of the snapshots that backups take and keep: the repository's id. */
export const backupLabel = "torus-backup";

function isKeptFor({ labels }: SourceSnapshot, { record }: Repository): boolean {
  return labels[backupLabel] === record.id;
}

export interface BackupBase {
  readonly head: BackupHead;
  readonly parent: BackupManifest | null;
  /** What a run before has done. */
  readonly done: ReadonlyMap<number, SegmentDone | null>;
  readonly readBytes: number;
  readonly sentBytes: number;
  readonly lockBefore: string | null;
  readonly isResumed: boolean;
  readonly isOwnSnapshot: boolean;
}

/** A segment whose chunks are under way. */
interface Segment {
  readonly number: number;
  /** What its changed chunks are now, by slot; null: nothing. */
  readonly changes: Map<number, string | null>;
  pending: number;
  /** All its chunks were begun. */
  isWhole: boolean;
}

class BackupRun {
  readonly #base: BackupBase;
  readonly #opened: OpenSnapshot;
  readonly #lock: TargetLock;
  readonly #options: BackupOptions;
  readonly #deps: BackupDeps;
  readonly #done: Map<number, SegmentDone | null>;
  readonly #work = new InFlight(chunksAtOnce);
  #readBytes: number;
  #sentBytes: number;
  #savedMs: number;
  #saving: Promise<void> | null = null;

  constructor(
    base: BackupBase,
    opened: OpenSnapshot,
    lock: TargetLock,
    options: BackupOptions,
    deps: BackupDeps,
  ) {
    this.#base = base;
    this.#opened = opened;
    this.#lock = lock;
    this.#options = options;
    this.#deps = deps;
    this.#done = new Map(base.done);
    this.#readBytes = base.readBytes;
    this.#sentBytes = base.sentBytes;
    this.#savedMs = deps.clock.monotonicMs();
  }

  async run(): Promise<BackupManifest> {
    const { head, parent } = this.#base;
    const baseSnapshot = parent?.snapshot ?? null;
    const changed = new ChangedChunks(
      { chunkBytes: head.chunkBytes, also: cutChunks(head, parent) },
      this.#opened.differenceFrom(baseSnapshot),
    );
    try {
      const count = segmentsOf(head);
      for (let number = 0; number < count; number++) {
        requireGoingOn(this.#options.signal);
        const chunks = await changed.takeBelow((number + 1) * segmentChunks);
        if (!this.#done.has(number)) await this.#begin(number, chunks);
      }
      await this.#work.end();
    } catch (error) {
      // What is done is worth keeping, whatever the reason.
      await this.#work.settle();
      await this.#saving;
      await this.#save().catch(() => {});
      throw error;
    }
    await this.#saving;
    return this.#commit();
  }

  async #begin(number: number, chunks: readonly number[]): Promise<void> {
    const { sizeBytes, chunkBytes } = this.#base.head;
    const segment: Segment = { number, changes: new Map(), pending: 0, isWhole: false };
    for (const chunk of chunks) {
      if (chunk * chunkBytes >= sizeBytes) break;
      requireGoingOn(this.#options.signal);
      segment.pending += 1;
      await this.#work.add(() => this.#chunk(segment, chunk));
      this.#options.onProgress({ doneBytes: chunk * chunkBytes, totalBytes: sizeBytes });
    }
    segment.isWhole = true;
    if (segment.pending === 0) await this.#finish(segment);
  }

  async #chunk(segment: Segment, chunk: number): Promise<void> {
    const { chunkBytes, sizeBytes } = this.#base.head;
    const offset = chunk * chunkBytes;
    const bytes = await this.#opened.device.read(offset, Math.min(chunkBytes, sizeBytes - offset));
    this.#readBytes += bytes.length;
    const slot = chunk - segment.number * segmentChunks;
    if (isAllZero(bytes)) segment.changes.set(slot, null);
    else {
      const { hash, sentBytes } = await this.#deps.repository.putChunk(bytes);
      this.#sentBytes += sentBytes;
      segment.changes.set(slot, hash);
    }
    segment.pending -= 1;
    if (segment.isWhole && segment.pending === 0) await this.#finish(segment);
  }

  async #finish(segment: Segment): Promise<void> {
    this.#done.set(segment.number, await this.#segmentOf(segment));
    const { saveEveryMs = saveEveryMsDefault } = this.#options;
    const nowMs = this.#deps.clock.monotonicMs();
    if (nowMs - this.#savedMs < saveEveryMs || this.#saving !== null) return;
    this.#savedMs = nowMs;
    this.#saving = this.#save().finally(() => {
      this.#saving = null;
    });
    await this.#saving;
  }

  /** The parent's, with what changed. */
  async #segmentOf({ number, changes }: Segment): Promise<SegmentDone | null> {
    const { head, parent } = this.#base;
    const before = parent?.segments[number] ?? null;
    const isCut = parent !== null && parent.sizeBytes > head.sizeBytes && number === segmentsOf(head) - 1;
    if (changes.size === 0 && !isCut) return before;
    const hashes = await this.#deps.repository.index(before?.hash ?? null);
    for (const [slot, hash] of changes) {
      if (hash === null) hashes.delete(slot);
      else hashes.set(slot, hash);
    }
    const end = Math.ceil(head.sizeBytes / head.chunkBytes) - number * segmentChunks;
    for (const slot of hashes.keys()) if (slot >= end) hashes.delete(slot);
    const put = await this.#deps.repository.putIndex(hashes);
    if (put === null) return null;
    this.#sentBytes += put.sentBytes;
    return { hash: put.hash, contentBytes: contentOf(number, hashes, head) };
  }

  async #save(): Promise<void> {
    await this.#deps.repository.putUnfinished({
      ...this.#base.head,
      lock: this.#lock.id,
      readBytes: this.#readBytes,
      sentBytes: this.#sentBytes,
      done: this.#done,
    });
  }

  async #commit(): Promise<BackupManifest> {
    const { repository, clock } = this.#deps;
    const { head } = this.#base;
    const segments = Array.from({ length: segmentsOf(head) }, (_, i) => this.#done.get(i) ?? null);
    const contentBytes = segments.reduce((sum, segment) => sum + (segment?.contentBytes ?? 0), 0);
    const manifest: BackupManifest = {
      ...head,
      finishedMs: clock.wallMs(),
      contentBytes,
      readBytes: this.#readBytes,
      sentBytes: this.#sentBytes,
      segments,
    };
    const name = { volume: head.volume.name, name: head.name };
    await repository.putManifest(manifest);
    try {
      await this.#lock.requireNotEnded();
    } catch (error) {
      // Chunks of it may have been removed.
      await repository.removeManifest(name);
      throw error;
    }
    await repository.removeUnfinished(name);
    return manifest;
  }
}

/** Chunks that are another because the volume has another size: those that were, or are, cut short by its end. */
function cutChunks(head: BackupHead, parent: BackupManifest | null): number[] {
  if (parent === null || parent.sizeBytes === head.sizeBytes) return [];
  const ends = [parent.sizeBytes, head.sizeBytes].filter((end) => end % head.chunkBytes !== 0);
  return ends.map((end) => Math.floor(end / head.chunkBytes));
}

function contentOf(
  number: number,
  hashes: ReadonlyMap<number, string>,
  { chunkBytes, sizeBytes }: BackupHead,
): number {
  let bytes = 0;
  for (const slot of hashes.keys()) {
    const offset = (number * segmentChunks + slot) * chunkBytes;
    bytes += Math.min(chunkBytes, sizeBytes - offset);
  }
  return bytes;
}
