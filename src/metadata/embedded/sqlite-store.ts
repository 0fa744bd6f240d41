// The rows of the embedded metadata service: synchronous operations, each one SQLite transaction. An expired lease is swept before
// anything is read or decided, in a revision of its own, so no answer ever shows a key of a lease that has run out.

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { assert, crc32, TorusError } from "#model";
import type { ChangeBatch } from "../prefix-watch.ts";
import type { Change, Guard, KeyValue, Range, Snapshot, TransactionResult, WatchEvent } from "../service.ts";
import { leaseGone } from "../service-limits.ts";
import type { BootClock } from "./boot-clock.ts";

export interface HistoryLimits {
  /** Revisions the change log keeps at least... */
  readonly historyRevisionsMax: number;
  /** ...unless their values take more than this. */
  readonly historyBytesMax: number;
}

/** The log is compacted at every so many revisions. */
const compactEveryRevisions = 64;
/** Above every character a key may have: `prefix` to `prefix` + this are the keys that start with it. */
const afterKeys = "\x7f";

interface KeyRow {
  readonly key: string;
  readonly value: string;
  readonly mod_revision: number;
  readonly create_revision: number;
  readonly lease: number;
  readonly sum: number;
}

interface ChangeRow {
  readonly revision: number;
  readonly key: string;
  readonly create_revision: number;
  readonly lease: number;
  readonly value: string | null;
}

interface StateRow {
  readonly revision: number;
  readonly compacted: number;
}

const statements = {
  state: "SELECT revision, compacted FROM state",
  setRevision: "UPDATE state SET revision = ?",
  setCompacted: "UPDATE state SET compacted = ?",
  nextLease: "UPDATE state SET last_lease = last_lease + 1 RETURNING last_lease",
  get: "SELECT * FROM keys WHERE key = ?",
  getPrefix: "SELECT * FROM keys WHERE key >= ? AND key < ? ORDER BY key",
  put: "INSERT OR REPLACE INTO keys (key, value, mod_revision, create_revision, lease, sum) VALUES (?, ?, ?, ?, ?, ?)",
  remove: "DELETE FROM keys WHERE key = ?",
  log: "INSERT INTO changes (revision, ordinal, key, create_revision, lease, bytes, value) VALUES (?, ?, ?, ?, ?, ?, ?)",
  changes:
    "SELECT revision, key, create_revision, lease, value FROM changes WHERE revision > ? AND revision <= ? AND key >= ? AND key < ? ORDER BY revision, ordinal",
  logSizes: "SELECT revision, sum(bytes) AS bytes FROM changes GROUP BY revision ORDER BY revision DESC",
  compact: "DELETE FROM changes WHERE revision <= ?",
  grant: "INSERT INTO leases (id, ttl_ms, boot, deadline_ms) VALUES (?, ?, ?, ?)",
  renew: "UPDATE leases SET deadline_ms = ? + ttl_ms WHERE id = ?",
  lease: "SELECT id FROM leases WHERE id = ?",
  revoke: "DELETE FROM leases WHERE id = ?",
  expired: "SELECT id FROM leases WHERE deadline_ms <= ? OR boot <> ? ORDER BY id",
  leaseKeys: "SELECT key FROM keys WHERE lease = ? ORDER BY key",
} as const;

export class SqliteStore {
  readonly #database: DatabaseSync;
  readonly #boot: BootClock;
  readonly #limits: HistoryLimits;
  readonly #statements: Readonly<Record<keyof typeof statements, StatementSync>>;
  #applied = 0;

  constructor(limits: HistoryLimits, deps: { readonly database: DatabaseSync; readonly boot: BootClock }) {
    this.#limits = limits;
    this.#database = deps.database;
    this.#boot = deps.boot;
    const prepared = Object.entries(statements).map(([name, sql]) => [name, deps.database.prepare(sql)]);
    this.#statements = Object.fromEntries(prepared);
  }

  close(): void {
    this.#database.close();
  }

  /** The last revision this store made itself, expired leases included; its own watches want to know. */
  get applied(): number {
    return this.#applied;
  }

  read(ranges: readonly Range[]): Snapshot {
    this.#database.exec("BEGIN");
    try {
      if (this.#expired().length === 0) return this.#readRanges(ranges);
    } finally {
      this.#endWithoutChange();
    }
    return this.#write(() => this.#readRanges(ranges));
  }

  transact(guards: readonly Guard[], changes: readonly Change[]): TransactionResult {
    return this.#write(() => {
      for (const { key, revision } of guards) {
        const found = this.#statements.get.get(key) as KeyRow | undefined;
        if ((found?.mod_revision ?? 0) !== revision)
          return { committed: false, revision: this.#state().revision };
      }
      for (const change of changes) {
        if (change.kind === "put" && change.lease) this.#requireLease(change.lease);
      }
      return { committed: true, revision: this.#apply(changes) };
    });
  }

  grantLease(ttlMs: number): number {
    return this.#write(() => {
      const { last_lease: lease } = this.#statements.nextLease.get() as { last_lease: number };
      this.#statements.grant.run(lease, ttlMs, this.#boot.bootId, this.#boot.monotonicMs() + ttlMs);
      return lease;
    });
  }

  renewLease(lease: number): void {
    this.#write(() => {
      if (this.#statements.renew.run(this.#boot.monotonicMs(), lease).changes === 0) throw leaseGone(lease);
    });
  }

  /** No effect when it is gone. */
  revokeLease(lease: number): void {
    this.#write(() => this.#dropLeases([lease]));
  }

  /** Takes away what expired; for watchers, whom nobody's reading would tell. */
  sweep(): void {
    if (this.hasExpired()) this.#write(() => {});
  }

  hasExpired(): boolean {
    return this.#expired().length > 0;
  }

  /** A number that changes when another connection commits. */
  dataVersion(): number {
    const row = this.#database.prepare("PRAGMA data_version").get() as { data_version: number };
    return row.data_version;
  }

  changesAfter(
    prefix: string,
    after: number,
    revisionsMax: number,
  ): ChangeBatch | { readonly reset: string } {
    this.#database.exec("BEGIN");
    try {
      const { revision: latest, compacted } = this.#state();
      if (after > latest) return { reset: `the store is at revision ${latest}, before ${after}` };
      if (after < compacted) return { reset: `changes up to revision ${compacted} are compacted` };
      const revision = Math.min(latest, after + revisionsMax);
      const rows = this.#statements.changes.all(
        after,
        revision,
        prefix,
        prefix + afterKeys,
      ) as unknown as ChangeRow[];
      return { events: rows.map(toEvent), revision, latest };
    } finally {
      this.#endWithoutChange();
    }
  }

  /** Runs `work` in a write transaction, after a sweep; commits when anything changed. */
  #write<Result>(work: () => Result): Result {
    const database = this.#database;
    database.exec("BEGIN IMMEDIATE");
    try {
      const expired = this.#expired();
      if (expired.length > 0) this.#dropLeases(expired);
      const result = work();
      this.#commit();
      return result;
    } finally {
      this.#endWithoutChange();
    }
  }

  #commit(): void {
    try {
      this.#database.exec("COMMIT");
    } catch (error) {
      throw new CommitFailure(error);
    }
  }

  /** Ends a transaction that is still open: one that only read, or failed. */
  #endWithoutChange(): void {
    if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
  }

  #state(): StateRow {
    const state = this.#statements.state.get() as unknown as StateRow | undefined;
    if (state === undefined)
      throw new TorusError(
        "corrupt",
        "the metadata database has lost its revision: restore it from a backup",
      );
    return state;
  }

  #readRanges(ranges: readonly Range[]): Snapshot {
    return { revision: this.#state().revision, ranges: ranges.map((range) => this.#readRange(range)) };
  }

  #readRange(range: Range): KeyValue[] {
    const rows =
      "key" in range
        ? this.#statements.get.all(range.key)
        : this.#statements.getPrefix.all(range.prefix, range.prefix + afterKeys);
    return (rows as unknown as KeyRow[]).map(toEntry);
  }

  #requireLease(lease: number): void {
    if (this.#statements.lease.get(lease) === undefined) throw leaseGone(lease);
  }

  #expired(): number[] {
    const rows = this.#statements.expired.all(this.#boot.monotonicMs(), this.#boot.bootId);
    return (rows as unknown as { id: number }[]).map((row) => row.id);
  }

  #dropLeases(leases: readonly number[]): void {
    const keys: string[] = [];
    for (const lease of leases) {
      const rows = this.#statements.leaseKeys.all(lease) as unknown as { key: string }[];
      keys.push(...rows.map((row) => row.key));
      this.#statements.revoke.run(lease);
    }
    keys.sort();
    this.#apply(keys.map((key) => ({ kind: "delete", key })));
  }

  /** All of `changes` at the next revision; none is taken when nothing changes. Returns the store's revision. */
  #apply(changes: readonly Change[]): number {
    const before = this.#state().revision;
    const revision = before + 1;
    let ordinal = 0;
    for (const change of changes) {
      if (change.kind === "delete") {
        if (this.#statements.remove.run(change.key).changes === 0) continue;
        this.#statements.log.run(revision, ordinal++, change.key, 0, 0, change.key.length, null);
        continue;
      }
      const { key, value, lease = 0 } = change;
      const old = this.#statements.get.get(key) as KeyRow | undefined;
      const created = old?.create_revision ?? revision;
      this.#statements.put.run(
        key,
        value,
        revision,
        created,
        lease,
        rowSum(key, value, revision, created, lease),
      );
      this.#statements.log.run(revision, ordinal++, key, created, lease, key.length + value.length, value);
    }
    if (ordinal === 0) return before;
    this.#statements.setRevision.run(revision);
    this.#applied = revision;
    if (revision % compactEveryRevisions === 0) this.#compact();
    return revision;
  }

  #compact(): void {
    let kept = 0;
    let bytes = 0;
    for (const row of this.#statements.logSizes.iterate() as Iterable<unknown> as Iterable<{
      revision: number;
      bytes: number;
    }>) {
      bytes += row.bytes;
      kept += 1;
      // The newest revision stays whatever its size.
      if (kept > 1 && (kept > this.#limits.historyRevisionsMax || bytes > this.#limits.historyBytesMax)) {
        this.#statements.compact.run(row.revision);
        this.#statements.setCompacted.run(row.revision);
        return;
      }
    }
  }
}

/** COMMIT itself failed: what it left on the disk is unknown. */
export class CommitFailure extends Error {
  override readonly name = "CommitFailure";

  constructor(cause: unknown) {
    super("a commit failed", { cause });
  }
}

function toEntry(row: KeyRow): KeyValue {
  const { key, value, mod_revision: modRevision, create_revision: createRevision, lease } = row;
  if (rowSum(key, value, modRevision, createRevision, lease) !== row.sum) {
    throw new TorusError(
      "corrupt",
      `metadata key ${key} does not match its checksum: restore the database from a backup`,
      { key },
    );
  }
  return { key, value, modRevision, createRevision, lease };
}

function toEvent(row: ChangeRow): WatchEvent {
  const { key, value, revision: modRevision, create_revision: createRevision, lease } = row;
  assert(key.length > 0, "a change names its key");
  return value === null
    ? { kind: "delete", key, modRevision }
    : { kind: "put", entry: { key, value, modRevision, createRevision, lease } };
}

const encoder = new TextEncoder();

/** SQLite has no checksums of its own; a flipped bit must not become another epoch. */
function rowSum(
  key: string,
  value: string,
  modRevision: number,
  createRevision: number,
  lease: number,
): number {
  return crc32(encoder.encode(`${key}\n${modRevision} ${createRevision} ${lease}\n${value}`));
}
