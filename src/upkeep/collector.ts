// Collector: gives back the space of dead blocks of the own store, pass after pass. What is dead is collect-machine.ts's to say; this
// reads what it is judged by, in the order in which that is sound, and removes what is due.
//
// Anything that cannot be read (the list, the metadata, a node of an INode) fails the pass, and a pass that fails removes
// nothing [C6].

import { Reader, readerDefaults } from "#distributor";
import type { Clock, Counter, Log, Metrics } from "#host";
import type { ClusterMetadata, CollectedRecord, NodePointer } from "#metadata";
import { collectedVolumesMax } from "#metadata";
import type { BlockRef, BlockStore, PeerId, VolumeId } from "#model";
import { blockRefKey, crc32, isTorusError, messageOf, metadataBehind, TorusError } from "#model";
import { NeededBlocks } from "#volume";
import type { CollectPass, CollectVerdict, SpaceUse } from "./collect-machine.ts";
import { CollectMachine } from "./collect-machine.ts";
import { NeededHere } from "./needed-here.ts";
import type { OwnStore } from "./own-store.ts";
import { pacedMs } from "./pace.ts";
import { rootsOf } from "./roots.ts";
import type { UpkeepTask } from "./upkeep-task.ts";

export interface CollectorOptions {
  /** A dead block is kept at least so long after it was found dead. */
  readonly graceMs: number;
  /** From a pass to the next. */
  readonly everyMs: number;
  /** An INode whose node no peer answers with for so long is unreadable. */
  readonly readTimeoutMs: number;
  /** Memory for what INodes' nodes said. */
  readonly cacheBytesMax: number;
  /** Memory for what INodes need of the blocks here. */
  readonly memoryBytesMax: number;
}

export const collectorDefaults: CollectorOptions = {
  graceMs: 60_000,
  everyMs: 60_000,
  readTimeoutMs: 30_000,
  cacheBytesMax: 64 * 2 ** 20,
  memoryBytesMax: 64 * 2 ** 20,
};

export interface CollectorDeps {
  readonly store: OwnStore;
  readonly metadata: Pick<ClusterMetadata, "snapshot" | "volumes">;
  /** Every peer that may hold `ref`. */
  readonly candidatesOf: (ref: BlockRef) => readonly PeerId[];
  /** Brings `candidatesOf` up to date; resolves with the version of the ring in force. */
  readonly refresh: () => Promise<number>;
  readonly storeOf: (peer: PeerId) => BlockStore;
  /** In force, as far as is known here. */
  readonly ringVersion?: () => number;
  /** False while the metadata may be of an earlier time than blocks here: asked at each pass and at each removal [C7]. */
  readonly mayDelete?: () => boolean;
  /** What the INodes need; a part of its own so that a simulation can break it. */
  readonly needed?: Pick<NeededBlocks, "walk">;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

const listPage = 1000;
const removalsAtOnce = 32;
/** After a pass it rests for this many times what that took. */
const restShare = 4;

export class Collector implements UpkeepTask {
  readonly name = "collector";
  readonly #options: CollectorOptions;
  readonly #deps: CollectorDeps;
  readonly #machine: CollectMachine;
  readonly #needed: NeededHere;
  readonly #alarmed = new Set<VolumeId>();
  readonly #passes: Counter;
  readonly #failures: Counter;
  readonly #removedBlocks: Counter;
  #verdict: CollectVerdict | null = null;
  #finishedMs = 0;
  #durationMs = 0;
  #readEveryMs = 0;

  constructor(options: CollectorOptions, deps: CollectorDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#machine = new CollectMachine(options);
    const { metrics, clock } = deps;
    this.#needed = new NeededHere(options, { needed: deps.needed ?? new NeededBlocks(options), clock });
    this.#passes = metrics.counter("torus_upkeep_collect_passes_total", "Passes of the collector.");
    this.#failures = metrics.counter(
      "torus_upkeep_collect_failures_total",
      "Passes of the collector that could not read all they needed, and removed nothing.",
    );
    this.#removedBlocks = metrics.counter("torus_upkeep_collected_blocks_total", "Dead blocks removed.");
    this.#publish(metrics);
  }

  get everyMs(): number {
    return Math.max(this.#options.everyMs, this.#durationMs * restShare, this.#readEveryMs);
  }

  get restMs(): number {
    return this.#readEveryMs;
  }

  /** What the last whole pass found, for the peer's heartbeat; null before the first. */
  get collected(): CollectedRecord | null {
    const verdict = this.#verdict;
    if (verdict === null) return null;
    const { use, buriedHere, revision, ringVersion } = verdict;
    // Metadata that went back gives out revisions again, for other tombstones than this pass saw. Adopting it makes a new ring [C7].
    const isOld = ringVersion < (this.#deps.ringVersion?.() ?? 0);
    const fits = buriedHere.length <= collectedVolumesMax;
    return {
      revision: fits && !isOld ? revision : 0,
      neededBytes: use.neededBytes,
      reclaimableBytes: use.reclaimableBytes,
      buriedHere: fits ? buriedHere : [],
    };
  }

  /** What an operator must look at; null when all is well. */
  get condition(): string | null {
    const unknown = this.#verdict?.unknown ?? [];
    if (unknown.length === 0) return null;
    return `keeps blocks of ${unknown.length} volume${unknown.length === 1 ? "" : "s"} the metadata does not know (${unknown.slice(0, 3).join(", ")})`;
  }

  /** Found dead and about to be collected. */
  isDead(ref: BlockRef): boolean {
    return this.#machine.isDead(ref);
  }

  async pass(stopping: () => boolean): Promise<void> {
    const { clock, mayDelete } = this.#deps;
    if (mayDelete?.() === false) return;
    const beganMs = clock.monotonicMs();
    const pass = this.#machine.begin(beganMs);
    try {
      await this.#read(pass, stopping);
    } catch (error) {
      if (stopping()) return;
      this.#failures.add(1);
      throw error;
    }
    if (stopping()) return;
    const verdict = this.#machine.finish(pass, clock.monotonicMs());
    this.#needed.commit();
    this.#verdict = verdict;
    this.#finishedMs = clock.wallMs();
    this.#alarm(verdict.unknown);
    await this.#remove(verdict.due, stopping);
    this.#durationMs = clock.monotonicMs() - beganMs;
    this.#passes.add(1);
    if (!stopping()) await this.#dropTombstones();
  }

  /** The own blocks, then the metadata, then the INodes: in this order and no other. */
  async #read(pass: CollectPass, stopping: () => boolean): Promise<void> {
    const { store, metadata } = this.#deps;
    let after: BlockRef | null = null;
    do {
      const page: Awaited<ReturnType<OwnStore["list"]>> = await store.list(after, listPage);
      pass.listed(page.blocks);
      after = page.next;
    } while (after !== null && !stopping());
    if (stopping()) return;
    const snapshot = await metadata.snapshot();
    this.#readEveryMs = pacedMs(0, { readers: snapshot.ring.members.length, bytes: snapshot.bytes });
    // Another peer may know better than this one.
    if (snapshot.behind !== "") throw metadataBehind(snapshot.behind);
    pass.read(snapshot);
    await this.#walk(pass, rootsOf(snapshot), stopping);
  }

  async #walk(pass: CollectPass, roots: readonly NodePointer[], stopping: () => boolean): Promise<void> {
    const reader = this.#openReader();
    try {
      const readNode = (pointer: NodePointer): Promise<Uint8Array> => {
        if (stopping()) throw new TorusError("closed", "the peer stops");
        return this.#readNode(reader, pointer);
      };
      await this.#needed.mark(pass, roots, readNode);
    } finally {
      reader.close();
    }
  }

  #openReader(): Reader {
    const { store, storeOf, candidatesOf, refresh, clock, log, metrics } = this.#deps;
    return new Reader(readerDefaults, {
      storeOf: (peer) => (peer === store.peer ? store : storeOf(peer)),
      candidatesOf: (ref) => [store.peer, ...candidatesOf(ref).filter((peer) => peer !== store.peer)],
      refresh,
      // The own disk first, and no turns: what is here costs no network.
      replicas: () => 1,
      onBadCopy: () => {},
      clock,
      log,
      metrics,
    });
  }

  /** Silence does not stall a collector: it tries again in its next pass. */
  async #readNode(reader: Reader, { ref, offset, length, checksum }: NodePointer): Promise<Uint8Array> {
    const { clock } = this.#deps;
    const { readTimeoutMs } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = clock.setTimer(readTimeoutMs, () =>
      late.reject(
        new TorusError(
          "timeout",
          `no peer gave a node of an INode, in block ${blockRefKey(ref)}, within ${readTimeoutMs / 1000} s`,
        ),
      ),
    );
    try {
      return await Promise.race([
        reader.read(ref, offset, length, (bytes) => crc32(bytes) === checksum),
        late.promise,
      ]);
    } finally {
      timer.cancel();
    }
  }

  async #remove(due: readonly BlockRef[], stopping: () => boolean): Promise<void> {
    const { store, log, mayDelete } = this.#deps;
    const mayRemove = (): boolean => !stopping() && mayDelete?.() !== false;
    let removed = 0;
    const note = async (ref: BlockRef): Promise<void> => {
      if (!(await store.remove(ref, mayRemove))) return;
      removed += 1;
      this.#removedBlocks.add(1);
    };
    for (let start = 0; start < due.length && mayRemove(); start += removalsAtOnce) {
      const some = due.slice(start, start + removalsAtOnce);
      // Together, so that they share an fdatasync.
      const outcomes = await Promise.allSettled(some.map(note));
      for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    }
    if (removed > 0) log.info("Dead blocks were removed.", { blocks: removed });
  }

  #alarm(unknown: readonly VolumeId[]): void {
    for (const volume of unknown) {
      if (this.#alarmed.has(volume)) continue;
      this.#alarmed.add(volume);
      this.#deps.log.error(
        "There are blocks of a volume that the metadata does not know. They are kept: was the metadata restored from a backup?",
        { volume },
      );
    }
    const now = new Set(unknown);
    for (const volume of this.#alarmed) if (!now.has(volume)) this.#alarmed.delete(volume);
  }

  async #dropTombstones(): Promise<void> {
    const { metadata, log, mayDelete } = this.#deps;
    if (mayDelete?.() === false) return;
    try {
      for (const { id, name } of await metadata.volumes.dropClearedTombstones())
        log.info("No peer has blocks of a deleted volume any more.", { volume: id, name });
    } catch (error) {
      if (!isTorusError(error)) throw error;
      log.debug("Tombstones could not be looked at.", { reason: messageOf(error) });
    }
  }

  #publish(metrics: Metrics): void {
    const use = (name: string, help: string, read: (use: SpaceUse) => number): void =>
      metrics.gauge(name, help, () => (this.#verdict === null ? 0 : read(this.#verdict.use)));
    use("torus_upkeep_needed_bytes", "Bytes of blocks here that a kept INode needs.", (of) => of.neededBytes);
    use(
      "torus_upkeep_kept_bytes",
      "Bytes of blocks here that no INode needs and that may not go yet.",
      (of) => of.keptBytes,
    );
    use("torus_upkeep_reclaimable_bytes", "Bytes of dead blocks here.", (of) => of.reclaimableBytes);
    use("torus_upkeep_reclaimable_blocks", "Dead blocks here.", (of) => of.reclaimableBlocks);
    metrics.gauge(
      "torus_upkeep_collect_walked_inodes",
      "INodes the collector's last pass had not seen before, or had to read again.",
      () => this.#needed.walked,
    );
    metrics.gauge(
      "torus_upkeep_unknown_volumes",
      "Volumes with blocks here that the metadata does not know: look at once.",
      () => this.#verdict?.unknown.length ?? 0,
    );
    metrics.gauge(
      "torus_upkeep_collect_last_pass_seconds",
      "When the collector last read all it needs, in seconds since 1970; 0 before the first time.",
      () => this.#finishedMs / 1000,
    );
    metrics.gauge(
      "torus_upkeep_collect_duration_seconds",
      "Duration of the collector's last pass.",
      () => this.#durationMs / 1000,
    );
  }
}
