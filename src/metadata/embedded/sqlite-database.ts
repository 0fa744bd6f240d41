// The file of the embedded metadata service: opening it, its schema, and what SQLite's errors mean. A file is taken only when it is
// new, or says by its application id and schema version that it is ours; a foreign file is never written to.
//
// SQLite's locks are POSIX locks: closing any other descriptor of the same file in this process would drop them, so nothing
// here opens the file beside SQLite, except to create it.

import { closeSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf, TorusError } from "#model";

/** "Trus". */
const applicationId = 0x54727573;
const schemaVersion = 1;
/** How long SQLite itself waits for a lock, blocking the thread; longer waits are the service's, on timers. */
const lockWaitMs = 2;
const checkedBytesMax = 64 * 1024 * 1024;

const schema = `
  CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    compacted INTEGER NOT NULL,
    last_lease INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE keys (
    key TEXT PRIMARY KEY,
    mod_revision INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    value TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX keys_by_lease ON keys (lease) WHERE lease <> 0;
  CREATE TABLE changes (
    revision INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    key TEXT NOT NULL,
    create_revision INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    value TEXT,
    PRIMARY KEY (revision, ordinal)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE leases (
    id INTEGER PRIMARY KEY,
    ttl_ms REAL NOT NULL,
    boot TEXT NOT NULL,
    deadline_ms REAL NOT NULL
  ) STRICT;
  INSERT INTO state VALUES (1, 0, 0, 0);
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`;

/** Opens or creates `path`. Throws `not-found`, `corrupt`, `unsupported`; `DatabaseBusy` when another process is at it: try again soon. */
export function openDatabase(path: string, create: boolean): DatabaseSync {
  const file = resolve(path);
  if (!isFile(file)) createFile(file, create);
  let database: DatabaseSync | null = null;
  try {
    database = new DatabaseSync(file, { timeout: lockWaitMs, enableForeignKeyConstraints: false });
    prepareDatabase(database, file);
    return database;
  } catch (error) {
    database?.close();
    throw explain(error, file);
  }
}

function isFile(file: string): boolean {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (stats !== undefined && !stats.isFile()) {
    throw new TorusError("invalid-argument", `${file} is not a file: name the metadata database`);
  }
  return stats !== undefined;
}

/** Only for this user; the directory entry is durable before anything is committed in the file. */
function createFile(file: string, create: boolean): void {
  if (!create) {
    throw new TorusError(
      "not-found",
      `there is no metadata database ${file}: check --metadata, or run torusctl init`,
    );
  }
  const directory = dirname(file);
  try {
    makeDirectory(directory);
    closeSync(openSync(file, "wx", 0o600));
    const descriptor = openSync(directory, "r");
    fsyncSync(descriptor);
    closeSync(descriptor);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST" && isFile(file)) return;
    throw new TorusError(
      "unavailable",
      `cannot create the metadata database ${file}: ${messageOf(error)}`,
      {},
      { cause: error },
    );
  }
}

function prepareDatabase(database: DatabaseSync, file: string): void {
  const fresh = requireOurs(database, file);
  // Refuses views and triggers that a crafted file may carry.
  database.exec(
    "PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216",
  );
  if (fresh) createSchema(database, file);
  requireMode(database, file);
  const { page_count: pages } = database.prepare("PRAGMA page_count").get() as { page_count: number };
  if (pages * 4096 > checkedBytesMax) return;
  const { quick_check: verdict } = database.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
  if (verdict !== "ok") {
    throw new TorusError(
      "corrupt",
      `the metadata database ${file} is damaged (${verdict}): restore it from a backup`,
    );
  }
}

/** Whether the file is new; throws when it is someone else's or of a newer version. */
function requireOurs(database: DatabaseSync, file: string): boolean {
  const { application_id: id } = database.prepare("PRAGMA application_id").get() as {
    application_id: number;
  };
  const { user_version: version } = database.prepare("PRAGMA user_version").get() as { user_version: number };
  const { tables } = database.prepare("SELECT count(*) AS tables FROM sqlite_schema").get() as {
    tables: number;
  };
  if (id === 0 && tables === 0) return true;
  if (id !== applicationId) {
    throw new TorusError(
      "corrupt",
      `${file} is an SQLite database, but not a Torus metadata database: it was left as it is`,
    );
  }
  if (version !== schemaVersion) {
    throw new TorusError(
      "unsupported",
      `the metadata database ${file} has schema version ${version}, this program knows ${schemaVersion}: use the torus that made it, or a newer one`,
    );
  }
  return false;
}

function createSchema(database: DatabaseSync, file: string): void {
  database.exec("BEGIN IMMEDIATE");
  // Another process may have been first.
  if (requireOurs(database, file)) database.exec(schema);
  database.exec("COMMIT");
}

/** The two settings that acknowledged transactions rest on. */
function requireMode(database: DatabaseSync, file: string): void {
  const { journal_mode: journal } = database.prepare("PRAGMA journal_mode").get() as { journal_mode: string };
  const { synchronous } = database.prepare("PRAGMA synchronous").get() as { synchronous: number };
  if (journal !== "wal" || synchronous !== 2) {
    throw new TorusError(
      "unsupported",
      `the metadata database ${file} cannot be run in WAL mode with synchronous=FULL (it is ${journal}, ${synchronous}): keep it on a local file system`,
    );
  }
}

/** Another connection has a lock: nothing happened, try again soon. */
export class DatabaseBusy extends Error {
  override readonly name = "DatabaseBusy";
}

// Primary result codes, https://www.sqlite.org/rescode.html
const codes = {
  busy: 5,
  locked: 6,
  readonly: 8,
  corrupt: 11,
  full: 13,
  cantOpen: 14,
  notDatabase: 26,
} as const;

/** What an error of SQLite means here. Errors of other kinds are returned as they are. */
export function explain(error: unknown, file: string): unknown {
  const code = sqliteCode(error);
  if (code === null) return error;
  const reason = `${messageOf(error)} (SQLite error ${code})`;
  const options = { cause: error };
  switch (code & 0xff) {
    case codes.busy:
    case codes.locked:
      return new DatabaseBusy(reason, options);
    case codes.corrupt:
      return new TorusError(
        "corrupt",
        `the metadata database ${file} is damaged: ${reason}; restore it from a backup`,
        {},
        options,
      );
    case codes.notDatabase:
      return new TorusError(
        "corrupt",
        `${file} is not a metadata database: ${reason}; it was left as it is`,
        {},
        options,
      );
    case codes.full:
      return new TorusError(
        "full",
        `the disk of the metadata database ${file} is full: make room on it`,
        {},
        options,
      );
    case codes.readonly:
    case codes.cantOpen:
      return new TorusError(
        "unavailable",
        `cannot write the metadata database ${file}: ${reason}; check owner and mode`,
        {},
        options,
      );
    default:
      return new TorusError("unavailable", `the metadata database ${file} failed: ${reason}`, {}, options);
  }
}

/** The (extended) result code, null when `error` is not of SQLite. */
function sqliteCode(error: unknown): number | null {
  if (!(error instanceof Error) || (error as NodeJS.ErrnoException).code !== "ERR_SQLITE_ERROR") return null;
  return (error as Error & { errcode?: number }).errcode ?? 1;
}

/** The directory and its parents, one after another: the recursive form of mkdir never returns below /proc. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && statSync(path).isDirectory()) return;
    const parent = dirname(path);
    if (code !== "ENOENT" || parent === path || isDirectory(parent)) throw error;
    makeDirectory(parent);
    mkdirSync(path, { mode: 0o700 });
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
