// MetadataService over etcd (v3 API, 3.4 or newer). Reads and transactions are linearizable; every key lies under a prefix, so
// that a cluster of etcd can serve others too.
//
// Revisions here are etcd's less one: a new etcd is at revision 1, the seam counts from 0. Leases are numbered by us, at random
// in 53 bits, because etcd's own numbers do not fit a double. etcd counts leases in whole seconds, gives at least a few
// election timeouts, and removes what has run out within about half a second: keys vanish late, never early.

import type { Clock, Log, Random } from "#host";
import { isTorusError, TorusError } from "#model";
import type {
  Change,
  Guard,
  KeyValue,
  MetadataService,
  Range,
  Snapshot,
  TransactionResult,
  Watch,
  WatchEvent,
  WatchListener,
} from "../service.ts";
import {
  leaseGone,
  requireLease,
  requireLeaseTtl,
  requirePrefix,
  requireRanges,
  requireTransaction,
  serviceClosed,
} from "../service-limits.ts";
import { EtcdClient } from "./etcd-client.ts";
import { parseEtcdUrl } from "./etcd-url.ts";
import { EtcdWatch } from "./etcd-watch.ts";
import {
  encodeLeaseGrant,
  encodeLeaseKeepAlive,
  encodeLeaseRevoke,
  encodeTransaction,
  type Operation,
  prefixEnd,
  type RangeRequest,
  type TransactionRequest,
} from "./request-codec.ts";
import {
  type ChangeEvent,
  decodeLeaseGrant,
  decodeLeaseKeepAlive,
  decodeTransaction,
  type Entry,
  type TransactionResponse,
} from "./response-codec.ts";
import { layOutTransaction } from "./transaction-layout.ts";

export interface EtcdServiceOptions {
  readonly url: string;
  /** Of the URL's user, unless the URL names a file. */
  readonly password?: string | null;
  readonly tryMs?: number;
  readonly totalMs?: number;
  readonly probeMs?: number;
}

export interface EtcdServiceDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const tryMsDefault = 2000;
const totalMsDefault = 10_000;
const probeMsDefault = 2500;
/** A person may be waiting; a daemon is started again. */
const openMsMax = 5000;
const grantAttemptsMax = 4;

const transactionPath = "/etcdserverpb.KV/Txn";

export class EtcdMetadataService implements MetadataService {
  readonly #client: EtcdClient;
  readonly #prefix: string;
  readonly #deps: EtcdServiceDeps;
  readonly #watches = new Set<EtcdWatch>();
  #closed = false;

  /** Resolves once a member has answered. Rejects with `invalid-argument` for what the URL or the user has wrong, else `unavailable`. */
  static async open(options: EtcdServiceOptions, deps: EtcdServiceDeps): Promise<EtcdMetadataService> {
    const service = new EtcdMetadataService(options, deps);
    try {
      await service.#client.revision(Math.min(openMsMax, options.totalMs ?? openMsMax));
    } catch (error) {
      await service.close();
      throw error;
    }
    return service;
  }

  private constructor(options: EtcdServiceOptions, deps: EtcdServiceDeps) {
    const target = parseEtcdUrl(options.url);
    this.#prefix = target.prefix;
    this.#deps = deps;
    const {
      password = null,
      tryMs = tryMsDefault,
      totalMs = totalMsDefault,
      probeMs = probeMsDefault,
    } = options;
    this.#client = new EtcdClient({ target, password, tryMs, totalMs, probeMs }, deps);
    if (target.user !== null && target.tls === null) {
      deps.log.warn("The password for etcd goes over the network unencrypted: use etcds://.", {
        url: target.url,
      });
    }
  }

  get url(): string {
    return this.#client.url;
  }

  get identity(): string {
    return this.#client.identity;
  }

  get failure(): TorusError | null {
    return this.#client.failure;
  }

  async read(ranges: readonly Range[]): Promise<Snapshot> {
    this.#requireOpen();
    requireRanges(ranges);
    const operations = ranges.map((range): Operation => ({ kind: "range", ...this.#toRange(range) }));
    const answer = await this.#transact({ compares: [], operations }, true);
    if (answer.ranges.length !== ranges.length) {
      throw new TorusError(
        "protocol",
        `${this.url} answered ${ranges.length} ranges with ${answer.ranges.length}`,
      );
    }
    return {
      revision: toRevision(answer.header.revision),
      ranges: answer.ranges.map((entries) => entries.map((entry) => this.#toKeyValue(entry))),
    };
  }

  async transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> {
    this.#requireOpen();
    requireTransaction(guards, changes);
    const compares = guards.map(({ key, revision }) => ({
      key: this.#prefix + key,
      modRevision: revision === 0 ? 0 : revision + 1,
    }));
    const operations = changes.map((change): Operation => {
      const key = this.#prefix + change.key;
      return change.kind === "delete"
        ? { kind: "delete", key }
        : { kind: "put", key, value: change.value, lease: change.lease ?? 0 };
    });
    try {
      const answer = await this.#transact(layOutTransaction(compares, operations), false);
      return { committed: answer.succeeded, revision: toRevision(answer.header.revision) };
    } catch (error) {
      if (isTorusError(error, "not-found")) throw lostLease(changes, error);
      if (isTorusError(error, "full")) await this.#requireUnhappened(guards, changes, error);
      throw error;
    }
  }

  #transact(request: TransactionRequest, repeatable: boolean): Promise<TransactionResponse> {
    return this.#client.call({
      path: transactionPath,
      message: encodeTransaction(request),
      repeatable,
      what: repeatable ? "read the metadata" : "change the metadata",
      decode: decodeTransaction,
      headerOf: (answer) => answer.header,
    });
  }

  /**
   * etcd may have applied the very transaction that it answers with "no space". It has decided by then, so a key that the
   * transaction would have changed and that still has its guard's revision proves that it has not; else nobody knows.
   */
  async #requireUnhappened(
    guards: readonly Guard[],
    changes: readonly Change[],
    failure: TorusError,
  ): Promise<void> {
    const changed = new Set(changes.map(({ key }) => key));
    const witness = guards.find(({ key, revision }) => revision > 0 && changed.has(key));
    const entry = witness && (await this.read([{ key: witness.key }]).catch(() => null))?.ranges[0].at(0);
    if (entry !== undefined && entry.modRevision === witness?.revision) return;
    throw new TorusError(
      "timeout",
      `${failure.message}; whether it happened is unknown`,
      {},
      { cause: failure },
    );
  }

  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch {
    this.#requireOpen();
    requirePrefix(prefix);
    const watch = new EtcdWatch(
      { prefix: this.#prefix + prefix, fromRevision: fromRevision + 1, listener },
      {
        client: this.#client,
        clock: this.#deps.clock,
        log: this.#deps.log,
        toEvent: (event) => this.#toEvent(event),
        toRevision,
        onClose: (closed) => void this.#watches.delete(closed),
      },
    );
    this.#watches.add(watch);
    return watch;
  }

  async grantLease(ttlMs: number): Promise<number> {
    this.#requireOpen();
    requireLeaseTtl(ttlMs);
    for (let count = 1; ; count++) {
      const lease = this.#randomLease();
      try {
        await this.#client.call({
          path: "/etcdserverpb.Lease/LeaseGrant",
          message: encodeLeaseGrant(Math.ceil(ttlMs / 1000), lease),
          repeatable: false,
          what: "get a lease",
          decode: decodeLeaseGrant,
        });
        return lease;
      } catch (error) {
        // Under a new number: a lease that was granted without our knowing runs out by itself.
        const again = isTorusError(error, "timeout") || /lease already exists/.test(String(error));
        if (!again || count >= grantAttemptsMax) throw error;
      }
    }
  }

  async renewLease(lease: number): Promise<void> {
    this.#requireOpen();
    requireLease(lease);
    const { ttlSeconds } = await this.#client.call({
      path: "/etcdserverpb.Lease/LeaseKeepAlive",
      message: encodeLeaseKeepAlive(lease),
      repeatable: true,
      what: `renew lease ${lease}`,
      decode: decodeLeaseKeepAlive,
    });
    if (ttlSeconds <= 0) throw leaseGone(lease);
  }

  async revokeLease(lease: number): Promise<void> {
    this.#requireOpen();
    requireLease(lease);
    try {
      await this.#client.call({
        path: "/etcdserverpb.Lease/LeaseRevoke",
        message: encodeLeaseRevoke(lease),
        repeatable: true,
        what: `give back lease ${lease}`,
        decode: () => undefined,
      });
    } catch (error) {
      if (!isTorusError(error, "not-found")) throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const watch of [...this.#watches]) watch.close();
    this.#client.close();
  }

  #randomLease(): number {
    const { random } = this.#deps;
    return (random.uint32() % 2 ** 21) * 2 ** 32 + random.uint32() || 1;
  }

  #toRange(range: Range): RangeRequest {
    if ("key" in range) return { key: this.#prefix + range.key };
    const key = this.#prefix + range.prefix;
    return { key, rangeEnd: prefixEnd(key) };
  }

  #toKeyValue({ key, value, createRevision, modRevision, lease }: Entry): KeyValue {
    return {
      key: key.slice(this.#prefix.length),
      value,
      modRevision: toRevision(modRevision),
      createRevision: toRevision(createRevision),
      lease,
    };
  }

  #toEvent({ kind, entry }: ChangeEvent): WatchEvent {
    if (kind === "put") return { kind, entry: this.#toKeyValue(entry) };
    return { kind, key: entry.key.slice(this.#prefix.length), modRevision: toRevision(entry.modRevision) };
  }

  #requireOpen(): void {
    if (this.#closed) throw serviceClosed(this.url);
  }
}

function toRevision(revision: number): number {
  return revision - 1;
}

/** etcd does not say which of the leases is gone. */
function lostLease(changes: readonly Change[], cause: TorusError): TorusError {
  const leases = new Set(
    changes.flatMap((change) => (change.kind === "put" && change.lease ? [change.lease] : [])),
  );
  const [lease, ...others] = leases;
  if (lease !== undefined && others.length === 0) return leaseGone(lease);
  return new TorusError(
    "not-found",
    `one of the leases ${[...leases].join(", ")} has expired or was revoked`,
    {},
    { cause },
  );
}
