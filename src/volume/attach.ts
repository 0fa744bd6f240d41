// Attach: takes a volume's next epoch, recovers what the epochs before left, and starts serving (docs/design.md §5, steps 1 to 5).
// Fail-over is the same thing.
//
// Order that safety needs [C1]: the epoch is taken before head and logmap are read; the peers are fenced before the log is
// read; nothing is served before head and logmap of this epoch are committed.

import { Reader, Repairer, readerDefaults, replicatorDefaults } from "#distributor";
import type { Log } from "#host";
import type { CutRecord, SessionsChange, VolumeState, WriterAttachment } from "#metadata";
import { LeaseKeeper } from "#metadata";
import type { BlockRef, FenceReport, PeerId } from "#model";
import { blockType, messageOf, TorusError } from "#model";
import { explainFailure, peersOfAdopted } from "./adopted.ts";
import type { AttachDeps, AttachOptions, AttachTuning } from "./attach-options.ts";
import { attachTuningDefaults, infoOf, volumeOptionsOf, windowBytesOf } from "./attach-options.ts";
import { BlockTable } from "./block-table.ts";
import { Checkpointer } from "./checkpointer.ts";
import { decideAttach } from "./decided-fence.ts";
import type { ExtentMap } from "./extent-map.ts";
import { HeadKeeper } from "./head-keeper.ts";
import { nodesFrom } from "./inode.ts";
import { LogWriter } from "./log-writer.ts";
import { PageReader } from "./page-reader.ts";
import { firstRowOf } from "./placement-machine.ts";
import type { PointerTree } from "./pointer-tree.ts";
import type { RecoveredVolume } from "./recovered-volume.ts";
import { recoverVolume } from "./recovered-volume.ts";
import { RequestQueue } from "./request-queue.ts";
import { requireWriter } from "./require-writer.ts";
import { SpaceReturn } from "./space-return.ts";
import { StatusReporter } from "./status-reporter.ts";
import { appendTail, moveBlocks } from "./tail.ts";
import { Volume } from "./volume.ts";
import type { VolumeParts } from "./volume-orders.ts";
import { VolumeOrders } from "./volume-orders.ts";
import { VolumeSize } from "./volume-size.ts";
import type { LogBlock } from "./write-log.ts";

const checkpointAfterRingMs = 2000;

/** Attaches for writing. Rejects with `not-found`, `busy`, `incomplete`, `corrupt`, `fenced`, `unavailable`, `metadata-behind`. */
export async function attachVolume(options: AttachOptions, deps: AttachDeps): Promise<Volume> {
  const found = await deps.metadata.volumes.find(options.name);
  const { force, holder, leaseTtlMs } = options;
  const request = { owner: deps.random.uuid(), holder, leaseTtlMs, force };
  const attachment = await deps.metadata.writers.attachWriter(found.spec.id, request);
  const assembly = new Assembly(options, deps, attachment);
  try {
    return await assembly.run();
  } catch (error) {
    await assembly.giveUp();
    throw error;
  }
}

/** The parts of one attachment, put together step by step. */
class Assembly {
  readonly #options: AttachOptions;
  readonly #tuning: AttachTuning;
  readonly #deps: AttachDeps;
  readonly #attachment: WriterAttachment;
  readonly #keeper: LeaseKeeper;
  readonly #repairer: Repairer;
  readonly #reader: Reader;
  readonly #status: StatusReporter;
  readonly #table = new BlockTable();
  readonly #log: Log;
  #logWriter: LogWriter | null = null;
  #volume: Volume | null = null;
  readonly #space: SpaceReturn;
  #lost: TorusError | null = null;
  /** Nothing is tried again from now on. */
  #over = false;
  #state!: VolumeState;
  readonly #heads: HeadKeeper;
  #closeView: () => void = () => {};

  constructor(options: AttachOptions, deps: AttachDeps, attachment: WriterAttachment) {
    this.#options = options;
    this.#tuning = options.tuning ?? attachTuningDefaults;
    this.#deps = deps;
    this.#attachment = attachment;
    this.#log = deps.log.child({ volume: options.name, epoch: attachment.epoch });
    this.#space = this.#openSpace();
    const { storeOf, readCache: cache, clock, metrics } = deps;
    this.#reader = new Reader(readerDefaults, {
      storeOf,
      cache,
      candidatesOf: (ref) => this.#candidatesOf(ref),
      refresh: () => deps.view.refreshRing(),
      replicas: () => deps.view.ring.replicas,
      onBadCopy: (ref, peer) => this.#repairer.report(ref, peer),
      requireCurrent: () =>
        requireWriter({
          writers: deps.metadata.writers,
          attachment,
          isOver: () => this.#over,
          onLost: (error) => this.#lose(error),
          clock,
        }),
      clock,
      log: this.#log,
      metrics,
    });
    this.#repairer = new Repairer({
      storeOf,
      reader: () => this.#reader,
      sealOf: (ref) => this.#table.sealOf(ref),
      log: this.#log,
      metrics,
    });
    this.#keeper = new LeaseKeeper(attachment, {
      writers: deps.metadata.writers,
      clock,
      log: this.#log,
      onHold: () => this.#volume?.hold(),
      onResume: () => {
        this.#volume?.resume();
        this.#status.again();
      },
      onLost: (reason) => this.#lose(new TorusError("attachment-lost", reason)),
    });
    this.#heads = new HeadKeeper({
      writers: deps.metadata.writers,
      attachment,
      isOver: () => this.#over,
      clock,
      log: this.#log,
    });
    this.#status = new StatusReporter({
      set: (condition) =>
        deps.metadata.writers.setStatus(this.#keeper.attachment, { condition, updatedMs: clock.wallMs() }),
      clock,
      log: this.#log,
    });
  }

  async run(): Promise<Volume> {
    const { metadata } = this.#deps;
    const { state, decision } = await decideAttach(metadata.writers, this.#attachment);
    this.#state = state;
    this.#heads.readAt(this.#state.revisions);
    await this.#prepareView();
    const everyone = peersOfAdopted(this.#state, this.#deps.view);
    try {
      const recovered = await recoverVolume(
        this.#state,
        { ...this.#options, epoch: this.#attachment.epoch },
        { ...this.#deps, table: this.#table, reader: this.#reader, log: this.#log, everyone, decision },
      );
      this.#heads.beginWith(recovered.sessions, recovered.endIndex);
      return await this.#assemble(recovered);
    } catch (error) {
      throw await explainFailure(error, everyone !== null, this.#attachment, metadata);
    }
  }

  /** The view knows the rings the log was placed by, and, of adopted metadata, every peer. */
  async #prepareView(): Promise<void> {
    const { view } = this.#deps;
    const { logmap, adopted } = this.#state;
    await view.requireRings(logmap?.rows.map((row) => row.ringVersion) ?? []);
    if (adopted !== null) await view.refreshPeers();
  }

  /** Leaves the epoch taken, gives the lease back so that the next attach need not wait for it. */
  async giveUp(): Promise<void> {
    this.#abandon();
    await this.#deps.metadata.writers.detachWriter(this.#keeper.attachment).catch((error: unknown) => {
      this.#log.debug("could not give the epoch back", { reason: messageOf(error) });
    });
  }

  async #assemble({ inode, tail, reports, sessions, timeMs }: RecoveredVolume): Promise<Volume> {
    const { view, clock, storeOf } = this.#deps;
    const { map, tableTree } = inode;
    if (this.#lost !== null) throw this.#lost;
    const log = this.#openLog(reports);
    this.#logWriter = log;
    const found = { map, table: this.#table, windowBlock: (id: number) => log.windowBlock(id) };
    const reader = new PageReader({ ...this.#deps, ...found, reader: this.#reader });
    const readPage = async (page: number) => reader.read(page, 1);
    const parts = { map, table: this.#table, log, readPage, pace: this.#space.pace };
    const queue = new RequestQueue({ ...this.#deps, ...parts });
    const size = new VolumeSize(infoOf(this.#state.spec));
    const checkpointer = this.#openCheckpointer({ map, log, queue, size }, tableTree);
    this.#onRoom = () => queue.drain();
    this.#onLost = (error) => queue.lose(error);
    this.#move = (blocks) => {
      const moving = moveBlocks(blocks, map, queue);
      // Whoever waits for it sees the failure; it is that of the attachment, which the queue has told everybody already.
      this.#moved = Promise.all([this.#moved, moving]).then(() => {});
      this.#moved.then(
        () => this.#volume?.checkpointSoon(),
        () => {},
      );
    };
    const [table, { times }] = [this.#table, this.#heads];
    const tailDeps = { map, queue, table, storeOf, log: this.#log, writer: log, times };
    await appendTail(tail, { keepsHistory: this.#state.history !== null, timeMs }, tailDeps);
    await checkpointer.run();
    if (this.#lost !== null) throw this.#lost;
    if (sessions.cut !== null)
      this.#log.warn("what was answered and not flushed may be lost; clients of before must not go on", {
        previousHolder: sessions.cut.previousHolder,
      });
    const made = { map, log, queue, reader, checkpointer, size };
    this.#volume = new Volume(volumeOptionsOf(this.#state.spec, this.#options), {
      ...made,
      metadata: this.#deps.metadata,
      readNode: nodesFrom(this.#reader),
      orders: this.#openOrders(made),
      space: () => this.#table.space(view.cluster.blockBytes),
      clock,
      logger: this.#log,
      mayServe: () => this.#keeper.mayServe(),
      detach: (kept) => this.#deps.metadata.writers.detachWriter(this.#keeper.attachment, kept),
      cut: () => this.#cut(sessions),
      stopCleaning: () => this.#space.stopCleaning(),
      abandon: () => this.#abandon(),
    });
    this.#onRoom = () => this.#volume?.onRoom();
    this.#closeView = view.onRing(() => {
      log.reconfigure();
      // The blocks placed by the old ring are sealed soon; a head past them lets the cluster let go of it.
      clock.setTimer(checkpointAfterRingMs, () => this.#volume?.checkpointSoon());
    });
    if (!this.#keeper.mayServe()) this.#volume.hold();
    this.#startCleaning(map, log, queue);
    this.#log.info("attached", { sizeBytes: this.#state.spec.sizeBytes, tailBlocks: tail.length });
    return this.#volume;
  }

  /** Only an attach cuts clients off, and only people take that back. */
  async #cut(sessions: SessionsChange): Promise<CutRecord | null> {
    if (sessions.cut === null && this.#state.cut === null) return null;
    return (await this.#deps.metadata.volumes.load(this.#state.spec.id)).cut;
  }

  #openOrders(parts: VolumeParts): VolumeOrders {
    return new VolumeOrders(this.#state, {
      ...this.#deps,
      ...parts,
      attachment: this.#attachment,
      heads: this.#heads,
      table: this.#table,
      blocks: this.#reader,
      isLost: () => this.#over,
      lose: (error) => this.#lose(error),
      logger: this.#log,
    });
  }

  #openSpace(): SpaceReturn {
    const { cleaner } = this.#options;
    const { fullPatienceMs } = this.#tuning;
    const logBytes = (): number => this.#logWriter?.position ?? 0;
    const own = { logBytes, onRoom: () => this.#onRoom(), log: this.#log };
    return new SpaceReturn({ cleaner, fullPatienceMs }, { ...this.#deps, ...own });
  }

  #startCleaning(map: ExtentMap, log: LogWriter, queue: RequestQueue): void {
    this.#space.start({
      ...this.#deps,
      map,
      table: this.#table,
      log,
      queue,
      reader: this.#reader,
      isPinned: (ref) => this.#volume?.orders.isPinned(ref) ?? true,
      mayClean: () => this.#keeper.mayServe(),
      checkpointSoon: () => this.#volume?.checkpointSoon(),
      logger: this.#log,
    });
  }

  #onRoom: () => void = () => {};
  #move: (blocks: readonly LogBlock[]) => void = () => {};
  /** Pages of abandoned blocks have been appended again. */
  #moved: Promise<void> = Promise.resolve();
  /** Whoever waits while there is no volume yet. */
  #onLost: (error: TorusError) => void = () => {};

  #openLog(reports: ReadonlyMap<PeerId, FenceReport>): LogWriter {
    const { view } = this.#deps;
    const [{ spec }, { blockBytes }] = [this.#state, view.cluster];
    return new LogWriter(
      {
        volume: spec.id,
        epoch: this.#attachment.epoch,
        blockBytes,
        minReplicas: spec.minReplicas,
        firstRow: firstRowOf(view.ring, reports),
        replicator: replicatorDefaults,
        windowBytesMax: () => windowBytesOf(this.#options, blockBytes),
        returnEveryMs: this.#tuning.returnEveryMs,
      },
      {
        ...this.#deps,
        ...this.#heads.forLog(),
        table: this.#table,
        ring: () => view.ring,
        ringOf: (version) => view.ringOf(version),
        isTight: () => view.isTight || this.#space.isTight,
        log: this.#log,
      },
      {
        onRoom: () => this.#onRoom(),
        onLost: (error) => this.#lose(error),
        onFull: (error) => this.#full(error),
        onCondition: (condition) => this.#status.report(condition),
        onStruck: () => this.#volume?.checkpointSoon(),
        onAbandoned: (blocks) => this.#move(blocks),
      },
    );
  }

  #openCheckpointer(
    { map, log, queue, size }: Pick<VolumeParts, "map" | "log" | "queue" | "size">,
    tableTree: PointerTree,
  ): Checkpointer {
    const { view, storeOf, clock, metrics } = this.#deps;
    const { spec } = this.#state;
    return new Checkpointer(
      {
        volume: spec.id,
        epoch: this.#attachment.epoch,
        blockBytes: view.cluster.blockBytes,
        minReplicas: spec.minReplicas,
      },
      {
        map,
        table: this.#table,
        tableTree,
        log,
        size,
        times: this.#heads.times,
        moved: () => this.#moved,
        pause: () => queue.pause(),
        resume: () => queue.resume(),
        commitHead: (...of) => this.#heads.commitHead(log.placement.logmap, ...of),
        storeOf,
        membersOf: (ref, without) => view.membersOf(ref, [...log.placement.lastRow.without, ...without]),
        ringVersion: () => view.ring.version,
        onFull: (error) => this.#full(error),
        onFailed: (error) => this.#checkpointFailed(error),
        isLost: () => this.#over,
        clock,
        logger: this.#log,
        metrics,
      },
    );
  }

  /** Where a block may be: by the log's placement if this epoch writes it, else by the rings. */
  #candidatesOf(ref: BlockRef): readonly PeerId[] {
    const others = this.#deps.view.candidatesOf(ref);
    if (ref.epoch !== this.#attachment.epoch || ref.type !== blockType.data || this.#logWriter === null)
      return others;
    if (ref.index < this.#logWriter.placement.firstIndex) return others;
    const members = this.#logWriter.placement.ensembleOf(ref.index, (version) =>
      this.#deps.view.ringOf(version),
    );
    return [...members, ...others.filter((peer) => !members.includes(peer))];
  }

  /** Whoever attaches is told that there is no space; a volume that serves goes on with what it can. */
  #full(error: TorusError): void {
    if (this.#volume === null) this.#lose(error);
  }

  #checkpointFailed(error: unknown): void {
    if (this.#over) return;
    const claim = `a checkpoint failed: ${messageOf(error)}`;
    this.#lose(new TorusError("attachment-lost", claim, {}, { cause: error }));
  }

  #lose(error: TorusError): void {
    if (this.#lost !== null) return;
    this.#lost = error;
    if (this.#volume !== null) this.#volume.lose(error);
    else {
      this.#onLost(error);
      this.#logWriter?.lose(error);
    }
    this.#abandon();
  }

  #abandon(): void {
    this.#over = true;
    this.#deps.onEnded?.();
    this.#space.close();
    this.#keeper.close();
    this.#closeView();
    this.#reader.close();
    this.#status.close();
    this.#logWriter?.close();
    void this.#repairer.close();
  }
}
