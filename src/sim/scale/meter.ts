// Meter: what a cluster asks of its metadata service, by who asks for what.

import type {
  Change,
  Guard,
  MetadataService,
  Range,
  Snapshot,
  TransactionResult,
  Watch,
  WatchListener,
} from "#metadata";

/** Of requests to the metadata service. */
export interface MeterReading {
  readonly reads: number;
  readonly keys: number;
  readonly bytes: number;
  readonly transactions: number;
  readonly writtenBytes: number;
  readonly leases: number;
  readonly watchEvents: number;
}

export const noReading: MeterReading = {
  reads: 0,
  keys: 0,
  bytes: 0,
  transactions: 0,
  writtenBytes: 0,
  leases: 0,
  watchEvents: 0,
};

export function combine(a: MeterReading, b: MeterReading, factor = 1): MeterReading {
  return {
    reads: a.reads + factor * b.reads,
    keys: a.keys + factor * b.keys,
    bytes: a.bytes + factor * b.bytes,
    transactions: a.transactions + factor * b.transactions,
    writtenBytes: a.writtenBytes + factor * b.writtenBytes,
    leases: a.leases + factor * b.leases,
    watchEvents: a.watchEvents + factor * b.watchEvents,
  };
}

export class Meter {
  readonly #readings = new Map<string, MeterReading>();

  add(what: string, reading: Partial<MeterReading>): void {
    this.#readings.set(what, combine(this.of(what), { ...noReading, ...reading }));
  }

  of(what: string): MeterReading {
    return this.#readings.get(what) ?? noReading;
  }

  /** All that was counted so far. */
  readings(): Map<string, MeterReading> {
    return new Map(this.#readings);
  }
}

/** A metadata service whose use is counted as `what`. */
export class MeteredService implements MetadataService {
  readonly #inner: MetadataService;
  readonly #meter: Meter;
  readonly #what: string;

  constructor(what: string, inner: MetadataService, meter: Meter) {
    this.#what = what;
    this.#inner = inner;
    this.#meter = meter;
  }

  get url(): string {
    return this.#inner.url;
  }

  get identity(): string {
    return this.#inner.identity;
  }

  get failure(): null {
    return null;
  }

  async read(ranges: readonly Range[]): Promise<Snapshot> {
    const snapshot = await this.#inner.read(ranges);
    let keys = 0;
    let bytes = 0;
    for (const entries of snapshot.ranges) {
      keys += entries.length;
      for (const { key, value } of entries) bytes += key.length + value.length;
    }
    this.#meter.add(this.#what, { reads: 1, keys, bytes });
    return snapshot;
  }

  transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> {
    let writtenBytes = 0;
    for (const change of changes)
      writtenBytes += change.key.length + (change.kind === "put" ? change.value.length : 0);
    this.#meter.add(this.#what, { transactions: 1, writtenBytes });
    return this.#inner.transact(guards, changes);
  }

  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch {
    return this.#inner.watch(prefix, fromRevision, {
      events: (events, revision) => {
        this.#meter.add(this.#what, { watchEvents: events.length });
        listener.events(events, revision);
      },
      reset: (reason) => listener.reset(reason),
    });
  }

  grantLease(ttlMs: number): Promise<number> {
    this.#meter.add(this.#what, { leases: 1 });
    return this.#inner.grantLease(ttlMs);
  }

  renewLease(lease: number): Promise<void> {
    this.#meter.add(this.#what, { leases: 1 });
    return this.#inner.renewLease(lease);
  }

  revokeLease(lease: number): Promise<void> {
    this.#meter.add(this.#what, { leases: 1 });
    return this.#inner.revokeLease(lease);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
