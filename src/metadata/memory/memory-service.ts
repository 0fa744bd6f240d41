// MetadataService in memory, for tests and the simulator. Several clients may share one MemoryMetadataState: each has
// its own watches and can be closed, the state goes on.

import type { Clock } from "#host";
import { PrefixWatch } from "../prefix-watch.ts";
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
import { MemoryMetadataState } from "./memory-state.ts";

export type { StateBackup } from "./memory-state.ts";
export { MemoryMetadataState } from "./memory-state.ts";

export class MemoryMetadataService implements MetadataService {
  readonly url = "memory:";
  readonly identity = "memory";
  readonly failure = null;
  readonly #state: MemoryMetadataState;
  readonly #clock: Clock;
  readonly #watches = new Set<PrefixWatch>();
  #unsubscribe: (() => void) | null = null;
  #closed = false;

  /** Without a `state`, one of its own. */
  constructor(options: { readonly state?: MemoryMetadataState }, deps: { readonly clock: Clock }) {
    this.#clock = deps.clock;
    this.#state = options.state ?? new MemoryMetadataState({}, deps);
  }

  async read(ranges: readonly Range[]): Promise<Snapshot> {
    this.#requireOpen();
    requireRanges(ranges);
    return this.#state.read(ranges);
  }

  async transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> {
    this.#requireOpen();
    requireTransaction(guards, changes);
    return this.#state.transact(guards, changes);
  }

  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch {
    this.#requireOpen();
    requirePrefix(prefix);
    const watch = new PrefixWatch(
      { prefix, fromRevision, listener },
      { source: this.#state, clock: this.#clock, onClose: (closed) => this.#forget(closed) },
    );
    this.#watches.add(watch);
    this.#unsubscribe ??= this.#state.subscribe(() => {
      for (const each of this.#watches) each.wake();
    });
    watch.wake();
    return watch;
  }

  #forget(watch: PrefixWatch): void {
    this.#watches.delete(watch);
    if (this.#watches.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }

  async grantLease(ttlMs: number): Promise<number> {
    this.#requireOpen();
    requireLeaseTtl(ttlMs);
    return this.#state.grantLease(ttlMs);
  }

  async renewLease(lease: number): Promise<void> {
    this.#requireOpen();
    requireLease(lease);
    this.#state.renewLease(lease);
  }

  async revokeLease(lease: number): Promise<void> {
    this.#requireOpen();
    requireLease(lease);
    this.#state.revokeLease(lease);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const watch of [...this.#watches]) watch.close();
  }

  #requireOpen(): void {
    if (this.#closed) throw serviceClosed(this.url);
  }
}
