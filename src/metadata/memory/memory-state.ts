// The store behind MemoryMetadataService: keys, one revision counter, leases, a bounded change log. Shared by any
// number of clients of one process; every call is synchronous, so each takes effect at once and in one piece.

import type { Clock, Timer } from "#host";
import { assert } from "#model";
import type { ChangeBatch, ChangeSource } from "../prefix-watch.ts";
import type { Change, Guard, KeyValue, Range, Snapshot, TransactionResult, WatchEvent } from "../service.ts";
import { leaseGone } from "../service-limits.ts";

export interface MemoryStateOptions {
  /** Revisions a watch can go back. */
  readonly historyRevisionsMax?: number;
}

interface Lease {
  readonly ttlMs: number;
  deadlineMs: number;
  readonly keys: Set<string>;
}

/** All keys as of one revision: what a backup has. */
export interface StateBackup {
  readonly revision: number;
  readonly entries: readonly KeyValue[];
}

interface Revision {
  readonly revision: number;
  readonly events: readonly WatchEvent[];
}

export class MemoryMetadataState implements ChangeSource {
  readonly #clock: Clock;
  readonly #historyRevisionsMax: number;
  readonly #keys = new Map<string, KeyValue>();
  /** The same by the folders they are in (`a/b/c` is in `a/` and `a/b/`), so that a prefix of few keys costs little among many. */
  readonly #folders = new Map<string, Map<string, KeyValue>>();
  readonly #leases = new Map<number, Lease>();
  readonly #listeners = new Set<() => void>();
  #history: Revision[] = [];
  /** Revisions up to this one are not in the history. */
  #compacted = 0;
  #revision = 0;
  #lastLease = 0;
  #expiryTimer: Timer | null = null;
  /** No lease runs out before. */
  #expiryMs = Number.POSITIVE_INFINITY;

  constructor(options: MemoryStateOptions, deps: { readonly clock: Clock }) {
    this.#historyRevisionsMax = options.historyRevisionsMax ?? 4096;
    this.#clock = deps.clock;
  }

  get revision(): number {
    this.#sweep();
    return this.#revision;
  }

  backUp(): StateBackup {
    this.#sweep();
    return { revision: this.#revision, entries: [...this.#keys.values()] };
  }

  /** Everything is as it was when `backup` was made, the revision too. Leases are gone, and their keys with them; watches are told to begin anew. */
  restore({ revision, entries }: StateBackup): void {
    this.#keys.clear();
    this.#folders.clear();
    this.#leases.clear();
    for (const entry of entries) if (entry.lease === 0) this.#set(entry);
    this.#history = [];
    this.#revision = revision;
    this.#compacted = revision;
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#armExpiry();
    return () => {
      this.#listeners.delete(listener);
      this.#armExpiry();
    };
  }

  read(ranges: readonly Range[]): Snapshot {
    this.#sweep();
    return { revision: this.#revision, ranges: ranges.map((range) => this.#readRange(range)) };
  }

  #readRange(range: Range): KeyValue[] {
    if ("key" in range) {
      const entry = this.#keys.get(range.key);
      return entry === undefined ? [] : [entry];
    }
    const folder = range.prefix.slice(0, range.prefix.lastIndexOf("/") + 1);
    const keys = folder === "" ? this.#keys : this.#folders.get(folder);
    const found = [...(keys?.values() ?? [])].filter((entry) => entry.key.startsWith(range.prefix));
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  #set(entry: KeyValue): void {
    this.#keys.set(entry.key, entry);
    for (const folder of foldersOf(entry.key)) {
      const keys = this.#folders.get(folder) ?? new Map<string, KeyValue>();
      this.#folders.set(folder, keys.set(entry.key, entry));
    }
  }

  #delete(key: string): boolean {
    for (const folder of foldersOf(key)) {
      const keys = this.#folders.get(folder);
      keys?.delete(key);
      if (keys?.size === 0) this.#folders.delete(folder);
    }
    return this.#keys.delete(key);
  }

  transact(guards: readonly Guard[], changes: readonly Change[]): TransactionResult {
    this.#sweep();
    const holds = guards.every(({ key, revision }) => (this.#keys.get(key)?.modRevision ?? 0) === revision);
    if (!holds) return { committed: false, revision: this.#revision };
    for (const change of changes) {
      if (change.kind === "put" && change.lease && !this.#leases.has(change.lease))
        throw leaseGone(change.lease);
    }
    this.#apply(changes);
    return { committed: true, revision: this.#revision };
  }

  /** All of `changes` at the next revision; none is taken when nothing changes. */
  #apply(changes: readonly Change[]): void {
    const revision = this.#revision + 1;
    const events: WatchEvent[] = [];
    for (const change of changes) {
      const before = this.#keys.get(change.key);
      if (before !== undefined && before.lease !== 0) this.#leases.get(before.lease)?.keys.delete(change.key);
      if (change.kind === "delete") {
        if (this.#delete(change.key)) events.push({ kind: "delete", key: change.key, modRevision: revision });
        continue;
      }
      const { key, value, lease = 0 } = change;
      const entry: KeyValue = {
        key,
        value,
        modRevision: revision,
        createRevision: before?.createRevision ?? revision,
        lease,
      };
      this.#set(entry);
      if (lease !== 0) this.#leases.get(lease)?.keys.add(key);
      events.push({ kind: "put", entry });
    }
    if (events.length === 0) return;
    this.#revision = revision;
    this.#history.push({ revision, events });
    if (this.#history.length > 2 * this.#historyRevisionsMax) this.compact(this.#historyRevisionsMax);
    for (const listener of this.#listeners) listener();
  }

  /** Forgets all but the last `keptRevisions` of the change log. */
  compact(keptRevisions: number): void {
    const dropped = this.#history.splice(0, Math.max(0, this.#history.length - keptRevisions));
    this.#compacted = dropped.at(-1)?.revision ?? this.#compacted;
  }

  changesAfter(
    prefix: string,
    after: number,
    revisionsMax: number,
  ): ChangeBatch | { readonly reset: string } {
    this.#sweep();
    const latest = this.#revision;
    if (after > latest) return { reset: `the store is at revision ${latest}, before ${after}` };
    if (after < this.#compacted) return { reset: `changes up to revision ${this.#compacted} are compacted` };
    const revision = Math.min(latest, after + revisionsMax);
    const events: WatchEvent[] = [];
    // Each revision has an entry, so its place in the history follows from its number.
    const first = this.#history.length - (latest - after);
    for (let at = first; at < this.#history.length && this.#history[at].revision <= revision; at++) {
      assert(this.#history[at].revision > after, "the history has every revision once");
      for (const event of this.#history[at].events)
        if (eventKey(event).startsWith(prefix)) events.push(event);
    }
    return { events, revision, latest };
  }

  grantLease(ttlMs: number): number {
    this.#sweep();
    this.#lastLease += 1;
    const deadlineMs = this.#clock.monotonicMs() + ttlMs;
    this.#leases.set(this.#lastLease, { ttlMs, deadlineMs, keys: new Set() });
    this.#expiryMs = Math.min(this.#expiryMs, deadlineMs);
    this.#armExpiry();
    return this.#lastLease;
  }

  renewLease(id: number): void {
    this.#sweep();
    const lease = this.#leases.get(id);
    if (lease === undefined) throw leaseGone(id);
    lease.deadlineMs = this.#clock.monotonicMs() + lease.ttlMs;
  }

  /** No effect when it is gone. */
  revokeLease(id: number): void {
    this.#sweep();
    this.#dropLeases([id]);
  }

  #dropLeases(ids: readonly number[]): void {
    const keys: string[] = [];
    for (const id of ids) {
      keys.push(...(this.#leases.get(id)?.keys ?? []));
      this.#leases.delete(id);
    }
    keys.sort();
    this.#apply(keys.map((key) => ({ kind: "delete", key })));
  }

  #sweep(): void {
    const now = this.#clock.monotonicMs();
    if (now < this.#expiryMs) return;
    const expired = [...this.#leases].filter(([, lease]) => lease.deadlineMs <= now).map(([id]) => id);
    this.#expiryMs = Number.POSITIVE_INFINITY;
    for (const { deadlineMs } of this.#leases.values())
      if (deadlineMs > now) this.#expiryMs = Math.min(this.#expiryMs, deadlineMs);
    if (expired.length > 0) this.#dropLeases(expired);
  }

  /** While someone listens, expiry is noticed when it happens. */
  #armExpiry(): void {
    this.#expiryTimer?.cancel();
    this.#expiryTimer = null;
    if (this.#listeners.size === 0 || this.#leases.size === 0) return;
    const next = Math.min(...[...this.#leases.values()].map((lease) => lease.deadlineMs));
    this.#expiryTimer = this.#clock.setTimer(Math.max(0, next - this.#clock.monotonicMs()), () => {
      this.#sweep();
      this.#armExpiry();
    });
  }
}

function eventKey(event: WatchEvent): string {
  return event.kind === "put" ? event.entry.key : event.key;
}

function foldersOf(key: string): string[] {
  const folders: string[] = [];
  for (let at = key.indexOf("/"); at !== -1; at = key.indexOf("/", at + 1))
    folders.push(key.slice(0, at + 1));
  return folders;
}
