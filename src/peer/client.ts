// PeerClient: a BlockStore stretched over TCP. It connects when it is used, sends requests in the order they were made, and
// is honest about silence: `unavailable` when the connection is gone, `timeout` when the deadline passed, and
// in both cases nobody knows whether the request took effect. It never repeats a request by itself.
//
// Bounded: requests and bytes under way; what is beyond the window waits in order, and only so much may wait.

import type { Clock, Connect, Log, Metrics, Timer } from "#host";
import { parseAddress } from "#host";
import type {
  AppendPurpose,
  BlockLocation,
  BlockRef,
  BlockStatus,
  ConfirmReport,
  Epoch,
  FenceBasis,
  FenceReport,
  ListPage,
  PeerId,
  PeerStore,
  Progress,
  StoreUsage,
  StoreWitness,
  TakeMemory,
  Testimony,
  VolumeId,
} from "#model";
import { isTorusError, TorusError, volumeIdMax } from "#model";
import type { ClientCounters } from "./client-counters.ts";
import { clientCounters } from "./client-counters.ts";
import type { PeerClientOptions, PeerClientSettings } from "./client-settings.ts";
import { peerClientDefaults } from "./client-settings.ts";
import type { PeerIdentity } from "./greeting.ts";
import { createHello } from "./greeting.ts";
import { PeerLink } from "./link.ts";
import type { Outstanding } from "./outstanding.ts";
import { OutstandingQueue } from "./outstanding.ts";
import { outside, tooLong, tooMany } from "./request-limits.ts";
import type { Answer } from "./wire/answer-codec.ts";
import { tooLongBasis } from "./wire/basis-codec.ts";
import { confirmRefsMax, FrameScratch, listBlocksMax, operations, tracesMax } from "./wire/frame-codec.ts";
import type { Request } from "./wire/request-codec.ts";

export interface PeerClientDeps {
  /** Asked at each attempt to connect: HOST:PORT of the peer, null while none is known. */
  readonly addressOf: () => string | null;
  readonly connect: Connect;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export type DisconnectListener = (error: TorusError) => void;

export class PeerClient implements PeerStore, StoreWitness {
  readonly #options: PeerClientOptions & PeerClientSettings;
  readonly #deps: PeerClientDeps;
  readonly #scratch = new FrameScratch();
  readonly #waiting = new OutstandingQueue();
  readonly #disconnectListeners = new Set<DisconnectListener>();
  readonly #counted: ClientCounters;
  readonly #checkEveryMs: number;
  #link: PeerLink | null = null;
  #identity: PeerIdentity | null = null;
  #watchers = 0;
  #timer: Timer | null = null;
  #checkedMs = 0;
  #forgave = false;
  #failures = 0;
  #nextAttemptMs = 0;
  #lastFailure: TorusError | null = null;
  #closed = false;

  constructor(options: PeerClientOptions, deps: PeerClientDeps) {
    this.#options = { ...peerClientDefaults, ...options };
    this.#deps = deps;
    const { requestTimeoutMs, silenceMs, connectTimeoutMs } = this.#options;
    this.#checkEveryMs = Math.min(250, requestTimeoutMs / 8, silenceMs / 8, connectTimeoutMs / 8);
    this.#counted = clientCounters(deps.metrics);
  }

  /** The peer asked for, or who answered if anyone would do. */
  get peer(): PeerId {
    return this.#identity?.peer ?? this.#options.peer;
  }

  /** Of the peer as it last greeted; null before the first time. */
  get incarnation(): number | null {
    return this.#identity?.incarnation ?? null;
  }

  get connected(): boolean {
    return this.#link?.ready ?? false;
  }

  /** Tells when a connection that stood is lost, after its requests were rejected. Returns what takes it back. */
  onDisconnect(listener: DisconnectListener): () => void {
    this.#disconnectListeners.add(listener);
    return () => this.#disconnectListeners.delete(listener);
  }

  /** Keeps the connection alive and under watch while nothing is asked, until the returned function is called. */
  watch(): () => void {
    let watching = true;
    this.#watchers += 1;
    this.#startChecks();
    this.#connectIfDue();
    return () => {
      if (watching) this.#watchers -= 1;
      watching = false;
    };
  }

  /** Connects if need be and asks for a sign of life: who answers. */
  async greet(): Promise<PeerIdentity> {
    await this.#submit({ operation: operations.ping }, 0);
    if (this.#identity === null)
      throw new TorusError("protocol", `peer ${this.peer} answered before it greeted`);
    return this.#identity;
  }

  append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose: AppendPurpose = "data",
  ): Promise<Progress> {
    const wrong = outside("offset", offset, 0) ?? outside("capacity", capacityBytes, 0) ?? tooLong(bytes);
    if (wrong !== null) return Promise.reject(wrong);
    const { append: operation } = operations;
    return this.#submit({ operation, ref, offset, capacityBytes, purpose, bytes }, bytes.length);
  }

  sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    return tooMany(refs) ?? this.#submit({ operation: operations.sync, refs: refs.slice() }, 0);
  }

  read(ref: BlockRef, offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    const wrong = outside("offset", offset, 0) ?? outside("length", length, 1);
    if (wrong !== null) return Promise.reject(wrong);
    return this.#submit({ operation: operations.read, ref, offset, length }, length, take);
  }

  seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    const wrong = outside("length", length, 1) ?? outside("checksum", checksum, 0, 0xffffffff);
    if (wrong !== null) return Promise.reject(wrong);
    return this.#submit({ operation: operations.seal, ref, length, checksum }, 0);
  }

  put(ref: BlockRef, bytes: Uint8Array, checksum: number, purpose: "write" | "repair"): Promise<void> {
    const wrong = tooLong(bytes) ?? outside("checksum", checksum, 0, 0xffffffff);
    if (wrong !== null) return Promise.reject(wrong);
    return this.#submit({ operation: operations.put, ref, checksum, purpose, bytes }, bytes.length);
  }

  stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    return tooMany(refs) ?? this.#submit({ operation: operations.stat, refs: refs.slice() }, 0);
  }

  list(after: BlockRef | null, limit: number): Promise<ListPage> {
    const wrong = outside("limit", limit, 1, Number.MAX_SAFE_INTEGER);
    if (wrong !== null) return Promise.reject(wrong);
    return this.#submit({ operation: operations.list, after, limit: Math.min(limit, listBlocksMax) }, 0);
  }

  /** A peer before version 3 is not told the basis. */
  fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const wrong =
      outside("volume", volume, 0, volumeIdMax) ??
      outside("epoch", epoch, 1, Number.MAX_SAFE_INTEGER) ??
      outside("epoch of the log", logEpoch, 0, Number.MAX_SAFE_INTEGER) ??
      outside("index", fromIndex, 0, Number.MAX_SAFE_INTEGER) ??
      tooLongBasis(basis);
    if (wrong !== null) return Promise.reject(wrong);
    return this.#submit({ operation: operations.fence, volume, epoch, logEpoch, fromIndex, basis }, 0);
  }

  /** As `Confirmer`. `unsupported` by a peer of version 1: it never confirms, so nothing is deleted on its word. */
  async confirm(ringVersion: number, refs: readonly BlockRef[]): Promise<ConfirmReport> {
    const wrong = outside("ring version", ringVersion, 0, Number.MAX_SAFE_INTEGER);
    if (wrong !== null) throw wrong;
    await tooMany(refs, confirmRefsMax);
    await this.#requireVersion(2, "confirm blocks");
    return this.#submit({ operation: operations.confirm, ringVersion, refs: refs.slice() }, 0);
  }

  usage(): Promise<StoreUsage> {
    return this.#submit({ operation: operations.usage }, 0);
  }

  /** As `StoreWitness`. `unsupported` by a peer of version 1. */
  async testify(after: VolumeId, limit: number): Promise<Testimony> {
    const wrong = outside("volume", after, 0, volumeIdMax) ?? outside("limit", limit, 1, tracesMax);
    if (wrong !== null) throw wrong;
    await this.#requireVersion(2, "tell what it has seen of the metadata");
    return this.#submit({ operation: operations.testify, after, limit }, 0);
  }

  /** As `Locator`. `unsupported` by a peer of an older version, or one that tells nobody. */
  async locate(ref: BlockRef): Promise<BlockLocation> {
    await this.#requireVersion(4, "tell where blocks lie");
    return this.#submit({ operation: operations.locate, ref }, 0);
  }

  /** Ends the link; the store at the other end stays as it is. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
    const error = new TorusError("closed", `the link to peer ${this.peer} was closed`);
    this.#link?.destroy(error);
    this.#rejectWaiting(error);
  }

  async #requireVersion(version: number, what: string): Promise<void> {
    if (!this.connected) await this.greet();
    if ((this.#identity?.version ?? 0) >= version) return;
    throw new TorusError("unsupported", `peer ${this.peer} does not ${what}: upgrade its torusd`);
  }

  /** `Result` is what `decodeAnswer` makes for the operation of `request`. */
  #submit<Result>(request: Request, weightBytes: number, take?: TakeMemory): Promise<Result> {
    if (this.#closed) {
      return Promise.reject(new TorusError("closed", `the link to peer ${this.peer} was closed`));
    }
    if (this.#waiting.length >= this.#options.waitingRequestsMax) {
      return Promise.reject(
        new TorusError("limit", `${this.#waiting.length} requests wait for peer ${this.peer}, the limit`),
      );
    }
    this.#counted.requests.add(1);
    return new Promise((resolve, reject) => {
      const deadlineMs = this.#deps.clock.monotonicMs() + this.#options.requestTimeoutMs;
      this.#enqueue({
        request,
        weightBytes,
        deadlineMs,
        take,
        resolve: resolve as (answer: Answer) => void,
        reject,
      });
    });
  }

  #enqueue(item: Outstanding): void {
    const link = this.#link;
    if (link?.ready && this.#waiting.length === 0 && this.#fits(link, item)) {
      link.send(item);
    } else {
      this.#waiting.push(item);
      this.#connectIfDue();
    }
    if (this.#timer === null) this.#startChecks();
  }

  /** Sends what waits, in order, as far as the window allows. */
  #pump(): void {
    const link = this.#link;
    if (!link?.ready) return;
    for (let item = this.#waiting.peek(); item !== undefined; item = this.#waiting.peek()) {
      if (!this.#fits(link, item)) return;
      this.#waiting.shift();
      link.send(item);
    }
  }

  #fits(link: PeerLink, item: Outstanding): boolean {
    const { windowRequests, windowBytes } = this.#options;
    // One request always fits, however large.
    if (link.outstandingRequests === 0 && link.unsentBytes === 0) return true;
    return (
      link.outstandingRequests < windowRequests &&
      link.outstandingBytes + item.weightBytes <= windowBytes &&
      link.unsentBytes < windowBytes
    );
  }

  /** Starts to connect unless that is under way; right after a failure it fails at once, with the same reason. */
  #connectIfDue(): void {
    if (this.#link !== null || this.#closed) return;
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#lastFailure !== null && nowMs < this.#nextAttemptMs) {
      this.#rejectWaiting(this.#lastFailure);
      return;
    }
    const { clusterId, peer, connectTimeoutMs, pingEveryMs, silenceMs } = this.#options;
    const addressText = this.#deps.addressOf();
    const name = `peer ${peer || "unknown"} at ${addressText}`;
    try {
      if (addressText === null) {
        throw new TorusError("unavailable", `no address is known for peer ${peer}`);
      }
      this.#link = new PeerLink(
        {
          address: parseAddress(addressText),
          name,
          hello: createHello(clusterId, peer),
          connectTimeoutMs,
          pingEveryMs,
          silenceMs,
        },
        {
          connect: this.#deps.connect,
          clock: this.#deps.clock,
          scratch: this.#scratch,
          greeted: (identity) => this.#welcomed(identity),
          progressed: () => this.#pump(),
          late: () => this.#counted.late.add(1),
          ended: (link, error) => this.#ended(link, error),
        },
      );
    } catch (error) {
      if (!isTorusError(error)) throw error;
      this.#failed(new TorusError("unavailable", error.message));
      this.#rejectWaiting(error);
    }
  }

  #welcomed(identity: PeerIdentity): void {
    const known = this.#identity;
    if (known !== null && known.peer === identity.peer && identity.incarnation < known.incarnation) {
      throw new TorusError(
        "protocol",
        `its incarnation went back from ${known.incarnation} to ${identity.incarnation}: an older copy of its directory is served`,
      );
    }
    this.#identity = identity;
  }

  #ended(link: PeerLink, error: TorusError): void {
    if (link !== this.#link) return;
    this.#link = null;
    if (link.answered) {
      this.#failures = 0;
      this.#lastFailure = null;
    } else {
      this.#failed(error);
    }
    this.#rejectWaiting(error);
    if (!link.stood) return;
    this.#counted.disconnects.add(1);
    this.#deps.log.debug("a connection to a peer ended", { peer: this.peer, reason: error.message });
    for (const listener of [...this.#disconnectListeners]) listener(error);
  }

  /** Notes a failure: the next attempt is made later, up to a limit. */
  #failed(error: TorusError): void {
    const { backoffMsMin, backoffMsMax } = this.#options;
    const backoffMs = Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    this.#nextAttemptMs = this.#deps.clock.monotonicMs() + backoffMs;
    this.#lastFailure = error;
  }

  #rejectWaiting(error: TorusError): void {
    for (const item of this.#waiting.takeAll()) item.reject(error);
  }

  #startChecks(): void {
    if (this.#timer !== null || this.#closed) return;
    this.#checkedMs = this.#deps.clock.monotonicMs();
    this.#timer = this.#deps.clock.setTimer(this.#checkEveryMs, () => this.#check());
  }

  /** Deadlines, signs of life, attempts of a watched link. Runs while there is anything to look after. */
  #check(): void {
    this.#timer = null;
    const nowMs = this.#deps.clock.monotonicMs();
    // After a pause of this whole process one round is left out, so that what came meanwhile can be read first.
    this.#forgave = !this.#forgave && nowMs - this.#checkedMs > 2 * this.#checkEveryMs + 100;
    if (this.#forgave) {
      this.#link?.forgiveSilence(nowMs);
    } else {
      this.#expireWaiting(nowMs);
      this.#link?.check(nowMs, this.#watchers > 0);
    }
    if (this.#watchers > 0) this.#connectIfDue();
    if (this.#watchers > 0 || this.#waiting.length > 0 || this.#link?.busy) this.#startChecks();
  }

  #expireWaiting(nowMs: number): void {
    for (let item = this.#waiting.peek(); item !== undefined; item = this.#waiting.peek()) {
      if (item.deadlineMs > nowMs) return;
      this.#waiting.shift();
      item.reject(new TorusError("timeout", `a request to peer ${this.peer} could not be sent in time`));
    }
  }
}
