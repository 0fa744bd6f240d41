// Clusters in memory for tests: any number of clients of one store, one of them through a service that loses answers.

import type { Random } from "#host";
import { TorusError } from "#model";
import { ClusterMetadata } from "./cluster.ts";
import { ManualClock } from "./manual-clock.fixture.ts";
import { MemoryMetadataService, MemoryMetadataState } from "./memory/memory-service.ts";
import { quietLog } from "./quiet-log.fixture.ts";
import type {
  Change,
  Guard,
  MetadataService,
  Range,
  Snapshot,
  TransactionResult,
  Watch,
  WatchListener,
} from "./service.ts";

export type Outcome = "happened" | "did not happen" | "happens late";

/** Loses the answer of the next transaction; a late one happens only after the next attempt of the same client. */
export class FaultyService implements MetadataService {
  readonly url = "faulty:";
  readonly identity = "faulty";
  readonly failure = null;
  readonly #inner: MetadataService;
  #next: Outcome | null = null;
  #late: (() => Promise<unknown>)[] = [];
  /** So many reads fail. */
  reads = 0;
  /** They do so only once a transaction has failed. */
  readsAfterFault = false;
  renewals = 0;
  /** Nothing is answered. */
  away = false;

  constructor(inner: MetadataService) {
    this.#inner = inner;
  }

  failNext(outcome: Outcome): void {
    this.#next = outcome;
  }

  async settleLate(): Promise<void> {
    for (const late of this.#late.splice(0)) await late();
  }

  async read(ranges: readonly Range[]): Promise<Snapshot> {
    this.#requireHere();
    if (this.reads > 0 && !(this.readsAfterFault && this.#next !== null)) {
      this.reads -= 1;
      throw new TorusError("unavailable", "injected");
    }
    return this.#inner.read(ranges);
  }

  async transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> {
    this.#requireHere();
    const outcome = this.#next;
    this.#next = null;
    if (outcome === null) {
      const result = await this.#inner.transact(guards, changes);
      await this.settleLate();
      return result;
    }
    if (outcome === "happened") await this.#inner.transact(guards, changes);
    if (outcome === "happens late") this.#late.push(() => this.#inner.transact(guards, changes));
    throw new TorusError("timeout", "injected");
  }

  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch {
    return this.#inner.watch(prefix, fromRevision, listener);
  }

  async grantLease(ttlMs: number): Promise<number> {
    this.#requireHere();
    return this.#inner.grantLease(ttlMs);
  }

  async renewLease(lease: number): Promise<void> {
    this.#requireHere();
    this.renewals += 1;
    return this.#inner.renewLease(lease);
  }

  async revokeLease(lease: number): Promise<void> {
    this.#requireHere();
    return this.#inner.revokeLease(lease);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #requireHere(): void {
    if (this.away) throw new TorusError("unavailable", "injected outage");
  }
}

/** Different on every call, the same in every run. */
export function countingRandom(): Random {
  let count = 0;
  const next = () => {
    count += 1;
    return count;
  };
  return {
    bytes: (length) => new Uint8Array(length).fill(next()),
    uint32: () => Math.imul(next(), 0x9e3779b1) >>> 0,
    uuid: () => `00000000-0000-4000-8000-${next().toString(16).padStart(12, "0")}`,
  };
}

export function openFixture() {
  const clock = new ManualClock();
  const random = countingRandom();
  const state = new MemoryMetadataState({}, { clock });
  const deps = { clock, random, log: quietLog };
  const faults = new FaultyService(new MemoryMetadataService({ state }, { clock }));
  return {
    clock,
    random,
    state,
    faults,
    /** Through `faults`. */
    cluster: new ClusterMetadata(faults, deps),
    /** Another client, without faults. */
    connect: () => new ClusterMetadata(new MemoryMetadataService({ state }, { clock }), deps),
  };
}
