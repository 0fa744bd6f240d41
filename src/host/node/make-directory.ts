// Makes a directory and what is above it. Node's own `recursive` does not come back where the system answers ENOENT for
// ever, as in /proc.

import { existsSync, mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/** Mode 0700 for those that are made; one that exists stays as it is. Throws what `mkdir` does. */
export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && statSync(path).isDirectory()) return;
    if (code !== "ENOENT" || existsSync(dirname(path)) || dirname(path) === path) throw error;
    makeDirectory(dirname(path));
    mkdirSync(path, { mode: 0o700 });
  }
}
