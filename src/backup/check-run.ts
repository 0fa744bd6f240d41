// Whether backups can be restored: each one's record, the indexes it leads to, and every chunk, once, however many backups have it.

import { isTorusError, messageOf, TorusError } from "#model";
import { segmentChunks } from "./chunk-codec.ts";
import { HashSet } from "./hash-set.ts";
import { InFlight } from "./in-flight.ts";
import type { BackupManifest } from "./manifest-codec.ts";
import type { BackupName, Repository } from "./repository.ts";
import { objectKey } from "./repository.ts";
import { requireChunkLength } from "./restore-run.ts";
import { requireGoingOn } from "./stop-request.ts";

export interface CheckOptions {
  /** Only whether chunks are there. */
  readonly quick: boolean;
  readonly signal: AbortSignal;
  /** Bytes of content that backups have, counted for each. */
  readonly onProgress: (doneBytes: number, totalBytes: number | null) => void;
}

export interface CheckProblem {
  /** VOLUME@NAME. */
  readonly backup: string;
  readonly problem: string;
}

export interface CheckResult {
  readonly backups: number;
  readonly chunks: number;
  /** Read and hashed; 0 of a quick check. */
  readonly readBytes: number;
  /** The first of each backup, and every chunk that is bad. */
  readonly problems: readonly CheckProblem[];
}

const chunksAtOnce = 16;
/** What is told of; a target that lost more is lost. */
const problemsMax = 1000;

/** Rejects only when the target does not answer. */
export async function checkBackups(
  names: readonly BackupName[],
  repository: Repository,
  options: CheckOptions,
): Promise<CheckResult> {
  return new CheckRun(repository, options).run(names);
}

class CheckRun {
  readonly #repository: Repository;
  readonly #options: CheckOptions;
  readonly #seen = new HashSet();
  /** What is wrong with chunks, by hash. */
  readonly #bad = new Map<string, string>();
  readonly #problems: CheckProblem[] = [];
  #readBytes = 0;

  constructor(repository: Repository, options: CheckOptions) {
    this.#repository = repository;
    this.#options = options;
  }

  async run(names: readonly BackupName[]): Promise<CheckResult> {
    for (const name of names) {
      requireGoingOn(this.#options.signal);
      try {
        await this.#backup(await this.#repository.manifest(name));
      } catch (error) {
        this.#note(name, error);
      }
    }
    const problems = this.#problems;
    return { backups: names.length, chunks: this.#seen.size, readBytes: this.#readBytes, problems };
  }

  async #backup(manifest: BackupManifest): Promise<void> {
    const name = { volume: manifest.volume.name, name: manifest.name };
    for (const [number, segment] of manifest.segments.entries()) {
      requireGoingOn(this.#options.signal);
      const { chunkBytes, sizeBytes } = manifest;
      this.#options.onProgress(Math.min(number * segmentChunks * chunkBytes, sizeBytes), sizeBytes);
      try {
        const hashes = await this.#repository.index(segment?.hash ?? null);
        await this.#chunks(number, hashes, manifest);
        for (const chunk of hashes.values()) {
          const problem = this.#bad.get(chunk);
          if (problem !== undefined) this.#note(name, new TorusError("corrupt", problem));
        }
      } catch (error) {
        this.#note(name, error);
      }
    }
  }

  /** Those not seen before. */
  async #chunks(
    number: number,
    hashes: ReadonlyMap<number, string>,
    manifest: BackupManifest,
  ): Promise<void> {
    const work = new InFlight(chunksAtOnce);
    try {
      for (const [slot, hash] of hashes) {
        if (!this.#seen.add(hash)) continue;
        await work.add(() => this.#chunk(number * segmentChunks + slot, hash, manifest));
      }
      await work.end();
    } finally {
      await work.settle();
    }
  }

  async #chunk(number: number, hash: string, manifest: BackupManifest): Promise<void> {
    try {
      if (this.#options.quick) {
        if (await this.#repository.hasChunk(hash)) return;
        throw new TorusError(
          "corrupt",
          `${this.#repository.target.place}: ${objectKey("chunks", hash)} is missing`,
        );
      }
      const bytes = await this.#repository.chunk(hash);
      this.#readBytes += bytes.length;
      requireChunkLength(bytes.length, number, manifest);
    } catch (error) {
      if (!isTorusError(error, "corrupt", "unsupported")) throw error;
      this.#bad.set(hash, messageOf(error));
    }
  }

  /** Throws what is no finding. */
  #note({ volume, name }: BackupName, error: unknown): void {
    if (!isTorusError(error, "corrupt", "unsupported", "not-found")) throw error;
    if (this.#problems.length < problemsMax)
      this.#problems.push({ backup: `${volume}@${name}`, problem: messageOf(error) });
  }
}
