// The embedded metadata service: one SQLite file, any number of processes of one machine. WAL with synchronous=FULL: what was
// committed survives a power cut. A transaction never spans a turn of the event loop; while another process has the write
// lock this one waits on timers, not in SQLite. Watches poll PRAGMA data_version, a few microseconds, only while there are any.
//
// An error of COMMIT leaves unknown what is on the disk, and a later fsync may claim success for what an earlier one lost:
// the service then refuses everything until the program is restarted. When its file was removed or replaced (by a backup?) it
// refuses everything until it is opened anew [C7].

import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { Clock, Log, Timer } from "#host";
import { sleep } from "#host";
import { isTorusError, messageOf, metadataBehind, TorusError } from "#model";
import { type ChangeBatch, type ChangeSource, PrefixWatch } from "../prefix-watch.ts";
import type {
  Change,
  Guard,
  MetadataService,
  Range,
  Snapshot,
  TransactionResult,
  Watch,
  WatchListener,
} from "../service.ts";
import {
  requireLease,
  requireLeaseTtl,
  requirePrefix,
  requireRanges,
  requireTransaction,
  serviceClosed,
} from "../service-limits.ts";
import type { BootClock } from "./boot-clock.ts";
import { DatabaseBusy, explain, openDatabase } from "./sqlite-database.ts";
import { CommitFailure, SqliteStore } from "./sqlite-store.ts";

export interface SqliteServiceOptions {
  readonly path: string;
  /** Make the file when it is missing. */
  readonly create: boolean;
  readonly historyRevisionsMax?: number;
  readonly historyBytesMax?: number;
}

export interface SqliteServiceDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly boot: BootClock;
}

const pollMs = 50;
const busyMsMax = 5000;
const backoffMsMax = 20;

export class SqliteMetadataService implements MetadataService, ChangeSource {
  readonly url: string;
  /** A copy of the file cannot be told from the file. */
  readonly identity = "sqlite";
  readonly #file: string;
  readonly #inode: number;
  readonly #store: SqliteStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #watches = new Set<PrefixWatch>();
  #pollTimer: Timer | null = null;
  #dataVersion = 0;
  /** A watch found the database busy: wake it at the next poll. */
  #missed = false;
  #failure: TorusError | null = null;
  #closed = false;

  /** Rejects with `not-found`, `corrupt`, `unsupported` or `unavailable` for a file that cannot be used. */
  static async open(options: SqliteServiceOptions, deps: SqliteServiceDeps): Promise<SqliteMetadataService> {
    const file = resolve(options.path);
    const store = await retryBusy(file, deps.clock, () => {
      const database = openDatabase(file, options.create);
      const limits = {
        historyRevisionsMax: options.historyRevisionsMax ?? 4096,
        historyBytesMax: options.historyBytesMax ?? 16 * 1024 * 1024,
      };
      return new SqliteStore(limits, { database, boot: deps.boot });
    });
    return new SqliteMetadataService(file, store, deps);
  }

  private constructor(file: string, store: SqliteStore, deps: SqliteServiceDeps) {
    this.url = `sqlite:${file}`;
    this.#file = file;
    this.#inode = statSync(file).ino;
    this.#store = store;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  get failure(): TorusError | null {
    return this.#failure;
  }

  async read(ranges: readonly Range[]): Promise<Snapshot> {
    requireRanges(ranges);
    return this.#run(() => this.#store.read(ranges));
  }

  async transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> {
    requireTransaction(guards, changes);
    return this.#run(() => this.#store.transact(guards, changes));
  }

  async grantLease(ttlMs: number): Promise<number> {
    requireLeaseTtl(ttlMs);
    return this.#run(() => this.#store.grantLease(ttlMs));
  }

  async renewLease(lease: number): Promise<void> {
    requireLease(lease);
    return this.#run(() => this.#store.renewLease(lease));
  }

  async revokeLease(lease: number): Promise<void> {
    requireLease(lease);
    return this.#run(() => this.#store.revokeLease(lease));
  }

  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch {
    this.#requireUsable();
    requirePrefix(prefix);
    const watch = new PrefixWatch(
      { prefix, fromRevision, listener },
      { source: this, clock: this.#clock, onClose: (closed) => this.#forget(closed) },
    );
    this.#watches.add(watch);
    if (this.#pollTimer === null) this.#schedulePoll();
    watch.wake();
    return watch;
  }

  changesAfter(
    prefix: string,
    revision: number,
    revisionsMax: number,
  ): ChangeBatch | { readonly reset: string } | null {
    try {
      this.#requireUsable();
      return this.#attempt(() => this.#store.changesAfter(prefix, revision, revisionsMax));
    } catch (error) {
      this.#missed = true;
      if (!(error instanceof DatabaseBusy)) {
        this.#log.warn("Changes of the metadata cannot be read; trying again.", { reason: messageOf(error) });
      }
      return null;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const watch of [...this.#watches]) watch.close();
    this.#store.close();
  }

  #forget(watch: PrefixWatch): void {
    this.#watches.delete(watch);
    if (this.#watches.size > 0) return;
    this.#pollTimer?.cancel();
    this.#pollTimer = null;
  }

  #schedulePoll(): void {
    this.#pollTimer = this.#clock.setTimer(pollMs, () => {
      this.#poll();
      if (this.#watches.size > 0) this.#schedulePoll();
    });
  }

  #poll(): void {
    try {
      this.#requireUsable();
      this.#attempt(() => this.#store.sweep());
      const version = this.#attempt(() => this.#store.dataVersion());
      if (version !== this.#dataVersion || this.#missed) this.#wakeAll();
      this.#dataVersion = version;
    } catch (error) {
      if (error instanceof DatabaseBusy) return;
      if (!this.#missed)
        this.#log.warn("The metadata database cannot be polled.", { reason: messageOf(error) });
      this.#missed = true;
    }
  }

  #wakeAll(): void {
    this.#missed = false;
    for (const watch of this.#watches) watch.wake();
  }

  #run<Result>(work: () => Result): Promise<Result> {
    return retryBusy(this.#file, this.#clock, () => {
      this.#requireUsable();
      return this.#attempt(work);
    });
  }

  /** One synchronous try; throws `DatabaseBusy` or `TorusError`. Own watches hear at once of what it changed. */
  #attempt<Result>(work: () => Result): Result {
    const { applied } = this.#store;
    try {
      return work();
    } catch (error) {
      if (error instanceof CommitFailure) throw this.#explainCommit(error.cause);
      throw explain(error, this.#file);
    } finally {
      if (this.#store.applied !== applied) this.#wakeAll();
    }
  }

  /** A commit that found the lock taken or the disk full did not happen; of any other failure nothing is certain. */
  #explainCommit(cause: unknown): unknown {
    const explained = explain(cause, this.#file);
    if (explained instanceof DatabaseBusy || isTorusError(explained, "full")) return explained;
    return this.#fail(`a commit failed (${messageOf(cause)})`);
  }

  #requireUsable(): void {
    if (this.#closed) throw serviceClosed(this.url);
    if (this.#failure !== null) throw this.#failure;
    if (statSync(this.#file, { throwIfNoEntry: false })?.ino !== this.#inode) {
      this.#failure = metadataBehind(
        `the metadata database ${this.#file} was removed or replaced while it was open`,
      );
      throw this.#failure;
    }
  }

  #fail(reason: string): TorusError {
    this.#failure ??= new TorusError(
      "unavailable",
      `the metadata database ${this.#file} is not used any more: ${reason}; check the disk and restart this program`,
    );
    this.#log.error("The metadata database failed.", { file: this.#file, reason });
    return this.#failure;
  }
}

/** Tries `work` until the database is not busy, waiting on timers; `unavailable` after `busyMsMax`: nothing happened then. */
async function retryBusy<Result>(file: string, clock: Clock, work: () => Result): Promise<Result> {
  const startMs = clock.monotonicMs();
  for (let delayMs = 1; ; delayMs = Math.min(2 * delayMs, backoffMsMax)) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof DatabaseBusy)) throw error;
      if (clock.monotonicMs() - startMs > busyMsMax) {
        throw new TorusError(
          "unavailable",
          `the metadata database ${file} was locked by another process for ${busyMsMax / 1000} s; try again`,
          {},
          { cause: error },
        );
      }
    }
    await sleep(clock, delayMs);
  }
}
