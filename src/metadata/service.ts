// MetadataService: a small ordered key-value store with one revision counter, guarded transactions, watch and leases
// (the model of etcd). Everything the cluster agrees on goes through it. Implementations: memory (tests, simulator),
// embedded (SQLite, one machine, any number of processes), etcd. All pass the suite in service-suite.ts.

import type { TorusError } from "#model";

/** A key and its value as of some revision. Keys are printable ASCII, at most `metadataKeyCharsMax`; values are text (JSON), at most `metadataValueBytesMax`. */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
  /** The revision that last changed it. */
  readonly modRevision: number;
  readonly createRevision: number;
  /** The lease it goes with, 0 for none. */
  readonly lease: number;
}

export type Range = { readonly key: string } | { readonly prefix: string };

export interface Snapshot {
  /** All ranges were read at this one revision, linearizably. */
  readonly revision: number;
  /** One list a range, sorted by key (code unit order). */
  readonly ranges: readonly (readonly KeyValue[])[];
}

/** Of keys and values, as good as: they are ASCII, but for names people give. */
export function bytesOf(ranges: Snapshot["ranges"]): number {
  let bytes = 0;
  for (const entries of ranges) for (const { key, value } of entries) bytes += key.length + value.length;
  return bytes;
}

/** Holds when `key`'s modRevision is `revision` (0: the key is absent). */
export interface Guard {
  readonly key: string;
  readonly revision: number;
}

export type Change =
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly lease?: number }
  | { readonly kind: "delete"; readonly key: string };

export interface TransactionResult {
  readonly committed: boolean;
  /** Of the store after the transaction (unchanged when not committed). */
  readonly revision: number;
}

export type WatchEvent =
  | { readonly kind: "put"; readonly entry: KeyValue }
  | { readonly kind: "delete"; readonly key: string; readonly modRevision: number };

export interface WatchListener {
  /** Changes in revision order, none twice, none missing; `revision` is that of the last. Called from a timer or socket turn, never from inside watch(). */
  events(events: readonly WatchEvent[], revision: number): void;
  /** History since `fromRevision` is gone (compaction, reconnect): read everything again and watch from there, anew: this watch is closed. */
  reset(reason: string): void;
}

export interface Watch {
  close(): void;
}

/**
 * Rejects with `TorusError`: `unavailable` or `timeout` (for a transaction: the outcome is unknown, read it back),
 * `invalid-argument` (key or value beyond limits), `full` (no space: nothing happened), `corrupt` (the store is damaged), `closed`.
 */
export interface MetadataService {
  /** For people, such as `sqlite:/var/lib/torus/metadata.db`. */
  readonly url: string;
  /** Of the store that answers: another one where it can be told that it was replaced by another, such as an etcd by one restored from a backup. */
  readonly identity: string;
  /** Why this service will answer nothing any more, and must be opened anew; null while it may. */
  readonly failure: TorusError | null;
  read(ranges: readonly Range[]): Promise<Snapshot>;
  /** All changes in one revision if all guards hold, else none. A put with a lease that has expired rejects with `not-found`. */
  transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult>;
  /** Events of keys with `prefix` at revisions above `fromRevision`. */
  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch;
  /** A new lease; its keys vanish when it is not renewed for `ttlMs`. */
  grantLease(ttlMs: number): Promise<number>;
  /** Renews; rejects with `not-found` when the lease is gone. */
  renewLease(lease: number): Promise<void>;
  revokeLease(lease: number): Promise<void>;
  close(): Promise<void>;
}
