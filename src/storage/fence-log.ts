// FenceLog: the epoch of every volume below which this store refuses writes, and the highest of which it took records that may have been
// answered (the epoch has *served*), durably. A fence costs two page writes and one (shared) fdatasync however many volumes there are: it is an
// entry in fences.log, written twice, in two halves of the file, so that no single bad sector lets a fence go back. When a half is full, and
// at each open that finds entries, all is folded into fences.json and the log starts again from the front; what old entries still stand
// there are never above it.

import type { Counter, Disk, DiskFile, Log } from "#host";
import type { Epoch, VolumeId } from "#model";
import { pageBytes, TorusError } from "#model";
import type { FenceEntry, FenceState } from "./fence-codec.ts";
import {
  decodeFenceEntry,
  decodeFences,
  encodeFenceEntry,
  encodeFences,
  fenceEntryBytes,
} from "./fence-codec.ts";
import { Flusher } from "./flusher.ts";
import type { Health } from "./health.ts";
import { isZero } from "./slot-entry-codec.ts";

export interface FenceLogDeps {
  readonly disk: Disk;
  readonly health: Health;
  readonly log: Log;
  readonly flushes: Counter;
}

const textName = "fences.json";
const logName = "fences.log";
/** One half of the log: 16384 fences until it is folded. */
export const fenceHalfBytes = 512 * 1024;
/** Bytes of a half that are read at once. */
const readBytes = 32 * 1024;

export class FenceLog {
  readonly #deps: FenceLogDeps;
  readonly #file: DiskFile;
  readonly #flusher: Flusher;
  readonly #state: FenceState;
  /** Of volumes of which something was raised and is not durable yet. */
  readonly #pending = new Map<VolumeId, Promise<void>>();
  /** The page being filled. */
  readonly #page: Uint8Array;
  #next = 0;

  /** Makes the files of an empty fence state. */
  static async create(disk: Disk): Promise<void> {
    const file = disk.openFile(logName, { create: true });
    try {
      await file.zeroFill(0, 2 * fenceHalfBytes);
    } finally {
      file.close();
    }
    disk.writeTextDurably(textName, encodeFences({ epochs: new Map(), served: new Map() }));
  }

  /** Rejects with `corrupt` when a fence may have been lost: the store must not serve then. */
  static async open(deps: FenceLogDeps): Promise<FenceLog> {
    const text = deps.disk.readText(textName);
    if (text === null || !deps.disk.exists(logName)) {
      throw new TorusError(
        "corrupt",
        `${text === null ? textName : logName} is missing: without it old writers could return. Empty the directory to start this disk as a new peer`,
      );
    }
    const state = decodeFences(text);
    const file = deps.disk.openFile(logName, { create: false });
    try {
      // What the log shows may be in the drive's cache only, after a crash of the process before this one.
      await file.dataSync();
      const found = readHalves(deps, file);
      let newer = false;
      for (const { volume, epoch, servedEpoch } of found) {
        newer = raised(state.epochs, volume, epoch) || newer;
        newer = raised(state.served, volume, servedEpoch) || newer;
      }
      if (newer) deps.disk.writeTextDurably(textName, encodeFences(state));
      return new FenceLog(deps, file, state);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  private constructor(deps: FenceLogDeps, file: DiskFile, state: FenceState) {
    this.#deps = deps;
    this.#file = file;
    this.#state = state;
    this.#page = deps.disk.allocateAligned(pageBytes);
    const { health, flushes } = deps;
    this.#flusher = new Flusher({ file, health, flushes, settle: () => null, prepare: () => () => {} });
  }

  /** The epoch below which `volume` is refused, also while it is not durable yet; 0 for none. */
  epochOf(volume: VolumeId): Epoch {
    return this.#state.epochs.get(volume) ?? 0;
  }

  /** The highest epoch of `volume` that is known to have served, also while that is not durable yet; 0 for none. */
  servedEpochOf(volume: VolumeId): Epoch {
    return this.#state.served.get(volume) ?? 0;
  }

  /** Of every volume with a fence. */
  get epochs(): ReadonlyMap<VolumeId, Epoch> {
    return this.#state.epochs;
  }

  /** Something of `volume` was raised and is not durable yet. */
  isPending(volume: VolumeId): boolean {
    return this.#pending.size > 0 && this.#pending.has(volume);
  }

  /** Volumes with a fence. */
  get size(): number {
    return this.#state.epochs.size;
  }

  /**
   * Refuses what is below `epoch` at once; resolves when that is durable. An epoch that is not above the stored one
   * changes nothing, and resolves when the stored one is durable.
   */
  raise(volume: VolumeId, epoch: Epoch): Promise<void> {
    return this.#raise(this.#state.epochs, volume, epoch);
  }

  /** Notes that `epoch` of `volume` has served; resolves when that is durable. As `raise` when it is known. */
  serve(volume: VolumeId, epoch: Epoch): Promise<void> {
    return this.#raise(this.#state.served, volume, epoch);
  }

  #raise(epochs: Map<VolumeId, Epoch>, volume: VolumeId, epoch: Epoch): Promise<void> {
    if (!raised(epochs, volume, epoch)) return this.#pending.get(volume) ?? Promise.resolve();
    let durable: Promise<void>;
    try {
      this.#writeEntry(volume);
      durable = this.#flusher.flush();
    } catch (error) {
      durable = Promise.reject(this.#deps.health.poisonWith(error));
    }
    const done = durable.then(() => {
      if (this.#pending.get(volume) === done) this.#pending.delete(volume);
    });
    this.#pending.set(volume, done);
    return done;
  }

  close(): void {
    this.#file.close();
  }

  #writeEntry(volume: VolumeId): void {
    if (this.#deps.health.poison !== null) throw this.#deps.health.poison;
    if (this.#next === fenceHalfBytes) {
      // The entry at hand is in the map already: the text has it, and the log may start over.
      this.#deps.disk.writeTextDurably(textName, encodeFences(this.#state));
      this.#next = 0;
      return;
    }
    const at = this.#next % pageBytes;
    if (at === 0) this.#page.fill(0);
    const [epoch, servedEpoch] = [this.epochOf(volume), this.servedEpochOf(volume)];
    encodeFenceEntry({ volume, epoch, servedEpoch }, this.#page, at);
    const page = this.#next - at;
    this.#file.writeSync(this.#page, page);
    this.#file.writeSync(this.#page, fenceHalfBytes + page);
    this.#next += fenceEntryBytes;
  }
}

/** Whether `epoch` is above what `epochs` had of `volume`, and is there now. */
function raised(epochs: Map<VolumeId, Epoch>, volume: VolumeId, epoch: Epoch): boolean {
  if (epoch <= (epochs.get(volume) ?? 0)) return false;
  epochs.set(volume, epoch);
  return true;
}

/** The entries of both halves; throws `corrupt` when one is readable in neither. */
function readHalves(deps: FenceLogDeps, file: DiskFile): FenceEntry[] {
  const found: FenceEntry[] = [];
  const parts = [deps.disk.allocateAligned(readBytes), deps.disk.allocateAligned(readBytes)];
  let repaired = 0;
  for (let from = 0; from < fenceHalfBytes; from += readBytes) {
    for (const [half, part] of parts.entries()) file.readDirectSync(part, half * fenceHalfBytes + from);
    for (let page = 0; page < readBytes; page += pageBytes) {
      // Most of it was never written.
      if (parts.every((part) => isZero(part.subarray(page, page + pageBytes)))) continue;
      for (let at = page; at < page + pageBytes; at += fenceEntryBytes) {
        const copies = parts.map((part) => decodeFenceEntry(part, at));
        for (const copy of copies) if (typeof copy !== "string") found.push(copy);
        if (!copies.includes("damaged")) continue;
        if (copies.every((copy) => typeof copy === "string")) throw damagedLog(from + at);
        repaired += 1;
      }
    }
  }
  if (repaired > 0) deps.log.warn("Entries of the fence log were read from their second copy.", { repaired });
  return found;
}

function damagedLog(at: number): TorusError {
  return new TorusError(
    "corrupt",
    `both copies of an entry of ${logName} are damaged (byte ${at}): a fence may be lost and an old writer could return. Empty the directory to start this disk as a new peer`,
  );
}
