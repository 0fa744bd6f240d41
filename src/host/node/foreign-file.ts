// Files of other processes of this machine, for reading.

import { closeSync, openSync, readSync } from "node:fs";
import type { ForeignFile } from "#host";
import { messageOf, TorusError } from "#model";

class NodeForeignFile implements ForeignFile {
  readonly #path: string;
  readonly #descriptor: number;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = openSync(path, "r");
  }

  readSync(target: Uint8Array, offset: number): void {
    let at = 0;
    try {
      while (at < target.length) {
        const count = readSync(this.#descriptor, target, at, target.length - at, offset + at);
        if (count === 0) throw new Error(`it ends before byte ${offset + target.length}`);
        at += count;
      }
    } catch (error) {
      throw new TorusError("io", `cannot read ${this.#path}: ${messageOf(error)}`, {}, { cause: error });
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/** Null when it is not there, or not for us to read. */
export function openForeignFile(path: string): ForeignFile | null {
  try {
    return new NodeForeignFile(path);
  } catch {
    return null;
  }
}
