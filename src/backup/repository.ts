// Repository: backups in a target. Content lies there in chunks under the hash of what is in them, so the same content is there once,
// whatever volumes and backups have it; a backup is a small record that leads to its chunks, and is put last.
//
//   torus-backup                    what this is, its id, the size of chunks
//   chunks/ab/abcd…                 content, by its SHA-256
//   indexes/ab/abcd…                which chunks a segment of a volume has, by the SHA-256 of the index
//   backups/VOLUME/NAME             a backup: volume, snapshot, size, the index of each segment
//   unfinished/VOLUME/NAME          one that is under way, or was when its process ended
//   locks/…                         see target-lock.ts

import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompress } from "node:zlib";
import type { Clock, Random } from "#host";
import { TorusError } from "#model";
import { chunkBytesMax, decodeChunk, decodeIndex, encodeChunk, encodeIndex } from "./chunk-codec.ts";
import type { BackupManifest, RepositoryRecord, UnfinishedBackup } from "./manifest-codec.ts";
import {
  decodeManifest,
  decodeRepository,
  decodeUnfinished,
  encodeManifest,
  encodeRepository,
  encodeUnfinished,
} from "./manifest-codec.ts";
import { sha256 } from "./s3-signature.ts";
import type { BackupTarget } from "./target.ts";
import { forEachPage } from "./target.ts";

export interface RepositoryDeps {
  readonly target: BackupTarget;
  readonly clock: Clock;
  readonly random: Random;
}

export interface BackupName {
  readonly volume: string;
  readonly name: string;
}

export interface Put {
  readonly hash: string;
  /** 0 when it was there. */
  readonly sentBytes: number;
}

export const chunkBytesDefault = 256 * 1024;

const markerKey = "torus-backup";
const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);
/** Compression that gains less than a sixteenth is not worth undoing. */
const worthwhileShare = 15 / 16;
const level = { params: { [constants.ZSTD_c_compressionLevel]: 3 } };

export class Repository {
  readonly target: BackupTarget;
  readonly record: RepositoryRecord;

  private constructor(target: BackupTarget, record: RepositoryRecord) {
    this.target = target;
    this.record = record;
  }

  /** `not-found` when the target has no backups. */
  static async open({ target }: Pick<RepositoryDeps, "target">): Promise<Repository> {
    const repository = await Repository.#find(target);
    if (repository !== null) return repository;
    throw new TorusError(
      "not-found",
      `there are no backups in ${target.place}: torusctl backup create makes the first`,
    );
  }

  /** The one there is, or a new one. `chunkBytes` null: as it is, or the default. Throws `invalid-argument` when it has another size of chunks. */
  static async openOrCreate(chunkBytes: number | null, deps: RepositoryDeps): Promise<Repository> {
    const { target, clock, random } = deps;
    if ((await Repository.#find(target)) === null) {
      const record = {
        id: random.uuid(),
        chunkBytes: chunkBytes ?? chunkBytesDefault,
        createdMs: clock.wallMs(),
      };
      await target.put(markerKey, encodeRepository(record));
    }
    // Read again: somebody else may have made it at the same time.
    const repository = await Repository.open({ target });
    const { chunkBytes: found } = repository.record;
    if (chunkBytes === null || chunkBytes === found) return repository;
    throw new TorusError(
      "invalid-argument",
      `${target.place} has chunks of ${found / 1024}KiB since it was made: leave --chunk-size out, or use another target`,
    );
  }

  static async #find(target: BackupTarget): Promise<Repository | null> {
    const bytes = await target.get(markerKey);
    if (bytes === null) return null;
    return new Repository(target, decodeRepository(bytes, `${target.place}/${markerKey}`));
  }

  /** Content, unless it is there already. */
  async putChunk(content: Uint8Array): Promise<Put> {
    return this.#putOnce("chunks", content);
  }

  /** Content that hashes to `hash`. Rejects with `corrupt` when it is missing or damaged. */
  async chunk(hash: string): Promise<Uint8Array> {
    return this.#get("chunks", hash);
  }

  hasChunk(hash: string): Promise<boolean> {
    return this.target.has(objectKey("chunks", hash));
  }

  /** Null for one with nothing in it. */
  async putIndex(hashes: ReadonlyMap<number, string>): Promise<Put | null> {
    return hashes.size === 0 ? null : this.#putOnce("indexes", encodeIndex(hashes));
  }

  /** Chunks of a segment by slot. */
  async index(hash: string | null): Promise<Map<number, string>> {
    return hash === null ? new Map() : decodeIndex(await this.#get("indexes", hash));
  }

  async #putOnce(folder: ObjectFolder, content: Uint8Array): Promise<Put> {
    const hash = sha256(content);
    const key = objectKey(folder, hash);
    if (await this.target.has(key)) return { hash, sentBytes: 0 };
    const packed = await compress(content, level);
    const isWorth = packed.length <= content.length * worthwhileShare;
    const bytes = encodeChunk({
      compression: isWorth ? "zstd" : "none",
      length: content.length,
      payload: isWorth ? packed : content,
    });
    await this.target.put(key, bytes);
    return { hash, sentBytes: bytes.length };
  }

  async #get(folder: ObjectFolder, hash: string): Promise<Uint8Array> {
    const key = objectKey(folder, hash);
    const bytes = await this.target.get(key);
    if (bytes === null) throw new TorusError("corrupt", `${this.target.place}: ${key} is missing`);
    const { compression, length, payload } = decodeChunk(bytes);
    const content = compression === "none" ? payload : await this.#unpack(payload, length, key);
    if (content.length === length && sha256(content) === hash) return content;
    throw new TorusError("corrupt", `${this.target.place}: ${key} is damaged: its content has another hash`);
  }

  async #unpack(payload: Uint8Array, length: number, key: string): Promise<Uint8Array> {
    try {
      return await decompress(payload, { maxOutputLength: Math.max(1, Math.min(length, chunkBytesMax)) });
    } catch (error) {
      throw new TorusError(
        "corrupt",
        `${this.target.place}: ${key} is damaged: it cannot be unpacked`,
        {},
        { cause: error },
      );
    }
  }

  /** Names of all backups, of `volume` or of all volumes; oldest first by volume. */
  names(volume: string | null): Promise<BackupName[]> {
    return this.#namesIn("backups", volume);
  }

  /** Rejects with `not-found`, saying which there are. */
  async manifest({ volume, name }: BackupName): Promise<BackupManifest> {
    const key = `backups/${volume}/${name}`;
    const bytes = await this.target.get(key);
    if (bytes !== null) return decodeManifest(bytes, `${this.target.place}/${key}`);
    const there = (await this.names(volume)).map((found) => found.name);
    const which = there.length === 0 ? "none of that volume" : `of that volume ${there.slice(-5).join(", ")}`;
    throw new TorusError(
      "not-found",
      `${this.target.place} has no backup ${volume}@${name}: it has ${which}`,
    );
  }

  async putManifest(manifest: BackupManifest): Promise<void> {
    await this.target.put(`backups/${manifest.volume.name}/${manifest.name}`, encodeManifest(manifest));
  }

  async removeManifest({ volume, name }: BackupName): Promise<void> {
    await this.target.remove(`backups/${volume}/${name}`);
  }

  unfinishedNames(volume: string | null): Promise<BackupName[]> {
    return this.#namesIn("unfinished", volume);
  }

  /** Null when it is gone by now. */
  async unfinished({ volume, name }: BackupName): Promise<UnfinishedBackup | null> {
    const key = `unfinished/${volume}/${name}`;
    const bytes = await this.target.get(key);
    return bytes === null ? null : decodeUnfinished(bytes, `${this.target.place}/${key}`);
  }

  async putUnfinished(unfinished: UnfinishedBackup): Promise<void> {
    await this.target.put(
      `unfinished/${unfinished.volume.name}/${unfinished.name}`,
      encodeUnfinished(unfinished),
    );
  }

  async removeUnfinished({ volume, name }: BackupName): Promise<void> {
    await this.target.remove(`unfinished/${volume}/${name}`);
  }

  async #namesIn(folder: "backups" | "unfinished", volume: string | null): Promise<BackupName[]> {
    const prefix = volume === null ? `${folder}/` : `${folder}/${volume}/`;
    const names: BackupName[] = [];
    await forEachPage(this.target, prefix, async (keys) => {
      for (const key of keys) {
        const [, of, name, ...more] = key.split("/");
        if (name !== undefined && more.length === 0) names.push({ volume: of, name });
      }
    });
    return names;
  }
}

export type ObjectFolder = "chunks" | "indexes";

export function objectKey(folder: ObjectFolder, hash: string): string {
  return `${folder}/${hash.slice(0, 2)}/${hash}`;
}
