// FileLock: a lock on a directory that ends with the process, however it ends. Node has no flock; SQLite has a file lock
// (fcntl) and is built in, so an exclusive transaction on an empty database is the lock. It holds between processes and
// between threads of one process. Who holds it stands in a file beside it, for the message only.

import { readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { threadId } from "node:worker_threads";
import { messageOf, TorusError } from "#model";

export interface FileLock {
  release(): void;
}

/** Those that are locked. A database that nobody refers to is collected, and closed, and the lock with it. */
const held = new Set<DatabaseSync>();

/** Locks `directory` by its file `lock`. Throws `busy` naming the holder, `io` when the file cannot be used. */
export function lockDirectory(directory: string): FileLock {
  const path = join(directory, "lock");
  const holderPath = join(directory, "lock.holder");
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
  } catch (error) {
    throw lockFailure(path, error);
  }
  try {
    // No journal file: nothing is ever written.
    database.exec("PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (isLocked(error)) throw directoryBusy(directory, holderPath);
    throw lockFailure(path, error);
  }
  try {
    writeFileSync(holderPath, `process ${process.pid} (thread ${threadId}) on ${hostname()}\n`, {
      mode: 0o600,
    });
  } catch (error) {
    database.close();
    throw lockFailure(holderPath, error);
  }
  held.add(database);
  const release = (): void => {
    if (held.delete(database)) database.close();
  };
  return { release };
}

function isLocked(error: unknown): boolean {
  // SQLITE_BUSY and SQLITE_LOCKED, whatever their extended codes.
  const code = (error as { errcode?: unknown }).errcode;
  return typeof code === "number" && [5, 6].includes(code & 0xff);
}

function directoryBusy(directory: string, holderPath: string): TorusError {
  let holder = "another process";
  try {
    holder = readFileSync(holderPath, "utf8").trim() || holder;
  } catch {
    // The holder has just taken the lock and not said yet who it is.
  }
  return new TorusError(
    "busy",
    `the directory ${directory} is in use by ${holder}: stop it, or give another directory`,
    { path: directory, holder },
  );
}

function lockFailure(path: string, cause: unknown): TorusError {
  return new TorusError("io", `cannot lock ${path}: ${messageOf(cause)}`, { path }, { cause });
}
