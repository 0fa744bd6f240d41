// A backup target that is a directory. An object has its name only once it is whole and on disk; what a crash leaves of one has a name that
// begins with a dot, and is never listed.

import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, TorusError } from "#model";
import { syncDirectory } from "./durable-file.ts";
import type { BackupTarget, TargetPage } from "./target.ts";
import { listKeysMax, requireKey } from "./target.ts";

export class DirectoryTarget implements BackupTarget {
  readonly place: string;
  readonly #unique: string;
  readonly #known = new Set<string>();
  #count = 0;

  /** `unique`: tells this process's unfinished files from those of others. */
  constructor(options: { readonly path: string; readonly unique: string }) {
    this.place = options.path;
    this.#unique = options.unique;
  }

  async get(key: string): Promise<Uint8Array | null> {
    return this.#at(key, async (path) => {
      try {
        return await readFile(path);
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    });
  }

  async has(key: string): Promise<boolean> {
    return this.#at(key, async (path) => {
      try {
        return (await stat(path)).isFile();
      } catch (error) {
        if (isMissing(error)) return false;
        throw error;
      }
    });
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#at(key, async (path) => {
      const folder = dirname(path);
      await this.#makeFolder(folder);
      this.#count += 1;
      const partPath = join(folder, `.${this.#unique}-${this.#count}`);
      try {
        await writeDurably(partPath, bytes);
        await rename(partPath, path);
      } catch (error) {
        await rm(partPath, { force: true }).catch(() => {});
        throw error;
      }
      await syncDirectory(folder);
    });
  }

  async remove(key: string): Promise<void> {
    await this.#at(key, (path) => rm(path, { force: true }));
  }

  async list(folder: string, after: string | null): Promise<TargetPage> {
    const keys: string[] = [];
    try {
      await this.#walk(folder, after ?? "", keys);
    } catch (error) {
      throw this.#failure(folder, error);
    }
    return { keys: keys.slice(0, listKeysMax), isMore: keys.length > listKeysMax };
  }

  /** Adds keys behind `after` in order, until there is one more than a page. */
  async #walk(folder: string, after: string, keys: string[]): Promise<void> {
    for (const { name, isFolder } of await entriesOf(join(this.place, folder))) {
      if (keys.length > listKeysMax) return;
      const key = `${folder}${name}`;
      // All that is in a folder before `after` is before it, too.
      if (isFolder && (key >= after || after.startsWith(key))) await this.#walk(key, after, keys);
      else if (!isFolder && key > after) keys.push(key);
    }
  }

  /** A folder that was made stays, also after a loss of power. */
  async #makeFolder(path: string): Promise<void> {
    if (this.#known.has(path)) return;
    const made = await mkdir(path, { recursive: true, mode: 0o700 });
    if (made !== undefined) {
      for (let folder = path; folder.length >= made.length; folder = dirname(folder))
        await syncDirectory(dirname(folder));
    }
    this.#known.add(path);
  }

  async #at<Result>(key: string, work: (path: string) => Promise<Result>): Promise<Result> {
    requireKey(key);
    try {
      return await work(join(this.place, key));
    } catch (error) {
      throw this.#failure(key, error);
    }
  }

  #failure(key: string, error: unknown): TorusError {
    const code = (error as NodeJS.ErrnoException).code === "ENOSPC" ? "full" : "io";
    return new TorusError(
      code,
      `backup target ${this.place}: ${key}: ${messageOf(error)}`,
      {},
      { cause: error },
    );
  }
}

interface Entry {
  /** Of a folder, with "/" behind it, so that sorting is as of whole keys. */
  readonly name: string;
  readonly isFolder: boolean;
}

async function entriesOf(path: string): Promise<Entry[]> {
  const found = await readdir(path, { withFileTypes: true }).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  return found
    .filter(({ name }) => !name.startsWith("."))
    .map((entry) => ({
      name: entry.isDirectory() ? `${entry.name}/` : entry.name,
      isFolder: entry.isDirectory(),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(bytes);
    await file.datasync();
  } finally {
    await file.close();
  }
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}
