// SmallDisk: a file system of its own, in a file, that can be filled from outside and emptied again.

import { mkdirSync, rmSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run, tryRun } from "../system/programs.ts";

/** Less than a peer leaves to the file system, so that its store cannot grow. */
const leftBytes = 4 * 1024 * 1024;

export class SmallDisk {
  /** Where it is mounted. Whoever removes the directory it lies in unmounts it. */
  readonly path: string;
  readonly #ballast: string;

  private constructor(path: string) {
    this.path = path;
    this.#ballast = join(path, "ballast");
  }

  static async make(directory: string, name: string, bytes: number): Promise<SmallDisk> {
    const image = join(directory, `${name}.img`);
    const path = join(directory, name);
    writeFileSync(image, "");
    truncateSync(image, bytes);
    await run("mkfs.ext4", ["-q", "-m", "0", "-E", "lazy_itable_init=1", image]);
    mkdirSync(path);
    await run("mount", ["-o", "loop", image, path]);
    return new SmallDisk(path);
  }

  /** Takes what is free. */
  async fill(): Promise<void> {
    const { bavail, bsize } = statfsSync(this.path);
    const bytes = bavail * bsize - leftBytes;
    // It may run full by itself meanwhile: what could be had is had.
    if (bytes > 0) await tryRun("fallocate", ["-l", `${bytes}`, this.#ballast]);
  }

  free(): void {
    rmSync(this.#ballast, { force: true });
  }
}
