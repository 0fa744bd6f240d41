// LastingMetadata: a metadata service that is opened anew when the one that was open was replaced under it (a backup was put back). For a
// daemon whose stores judge by themselves what they are shown: it must go on showing them the metadata there is, so that it is
// refused, and taken again once it was adopted [C7]. What other programs had decided is over then, so they end instead.

import type { Log } from "#host";
import { isTorusError, messageOf, type TorusError } from "#model";
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

export type OpenService = () => Promise<MetadataService>;

export class LastingMetadata implements MetadataService {
  readonly #open: OpenService;
  readonly #log: Log;
  #service: MetadataService;
  #opening: Promise<MetadataService> | null = null;
  #closed = false;

  static async open(open: OpenService, log: Log): Promise<LastingMetadata> {
    return new LastingMetadata(open, await open(), log);
  }

  private constructor(open: OpenService, service: MetadataService, log: Log) {
    this.#open = open;
    this.#service = service;
    this.#log = log;
  }

  get url(): string {
    return this.#service.url;
  }

  get identity(): string {
    return this.#service.identity;
  }

  get failure(): TorusError | null {
    return this.#isReplaced ? null : this.#service.failure;
  }

  async read(ranges: readonly Range[]): Promise<Snapshot> {
    return (await this.#usable()).read(ranges);
  }

  async transact(guards: readonly Guard[], changes: readonly Change[]): Promise<TransactionResult> {
    return (await this.#usable()).transact(guards, changes);
  }

  /** Of the service that is open now: it is reset when that was replaced. */
  watch(prefix: string, fromRevision: number, listener: WatchListener): Watch {
    return this.#service.watch(prefix, fromRevision, listener);
  }

  async grantLease(ttlMs: number): Promise<number> {
    return (await this.#usable()).grantLease(ttlMs);
  }

  async renewLease(lease: number): Promise<void> {
    return (await this.#usable()).renewLease(lease);
  }

  async revokeLease(lease: number): Promise<void> {
    return (await this.#usable()).revokeLease(lease);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#opening?.catch(() => {});
    await this.#service.close();
  }

  get #isReplaced(): boolean {
    return isTorusError(this.#service.failure, "metadata-behind");
  }

  #usable(): MetadataService | Promise<MetadataService> {
    if (!this.#isReplaced || this.#closed) return this.#service;
    this.#opening ??= this.#replace().finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #replace(): Promise<MetadataService> {
    const old = this.#service;
    this.#log.warn("The metadata service was replaced under this program; opening it anew.", {
      reason: messageOf(old.failure),
    });
    this.#service = await this.#open();
    await old.close();
    return this.#service;
  }
}
