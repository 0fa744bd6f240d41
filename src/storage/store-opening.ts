// StoreOpening: from a directory to the parts of a store: lock, identity with its incarnation raised durably, fences, data
// file, tables, blocks. Before anything found is called durable one fdatasync has succeeded, and what is verified is read
// past the page cache: bytes that only a drive's cache holds do not pass for durable [C14].

import type { Clock, Disk, DiskFile, Log, Metrics, Random } from "#host";
import { blockBytesMax, blockBytesMin, formatBytes, TorusError } from "#model";
import { BlockIndex } from "./block-index.ts";
import { BufferPool } from "./buffer-pool.ts";
import { CutEpochs } from "./cut-epochs.ts";
import { DataFile } from "./data-file.ts";
import { FenceLog } from "./fence-log.ts";
import { Flusher } from "./flusher.ts";
import { Health } from "./health.ts";
import type { Identity } from "./identity.ts";
import { dataFileName, readIdentity, requireFits, writeIdentity } from "./identity.ts";
import type { Layout } from "./layout.ts";
import { layoutOf, segmentBytesDefault, smallSlotBytes } from "./layout.ts";
import { MetadataMemory } from "./metadata-memory.ts";
import { OpenBlocks } from "./open-blocks.ts";
import { recoverBlocks } from "./recovery.ts";
import { SlotAllocator } from "./slot-allocator.ts";
import type { StoreCounters } from "./store-counters.ts";
import { publishGauges, storeCounters } from "./store-counters.ts";
import { scanTables } from "./table-scan.ts";

export interface DiskStoreOptions {
  /** The cluster's: a power of two. */
  readonly blockBytes: number;
  /** What the store may take of the disk. May grow later. */
  readonly sizeBytes: number;
  /** Memory for the buffers of open blocks. */
  readonly bufferBytesMax?: number;
  /** From so many bytes of a block on they are written in the background while the disk flushes: the thread pool costs less than to wait. */
  readonly asideBytesMin?: number;
  /** What the system has room for in its page cache, of this store's file. A guess, for speed alone. */
  readonly cachedBytesMax?: number;
  /**
   * For whoever serves it to a cluster: nothing is changed before the store was shown the metadata (`observe`), and nobody is let in
   * (fenced) who may know other metadata than was shown at most so long ago.
   */
  readonly lookMsMax?: number;
}

export interface DiskStoreDeps {
  /** Closed with the store, also when it does not open. */
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Called once when a disk error poisons the store: whoever serves it drops its connections. */
  readonly onPoisoned?: (error: TorusError) => void;
}

export interface StoreParts {
  readonly identity: Identity;
  readonly layout: Layout;
  readonly disk: Disk;
  readonly file: DiskFile;
  readonly data: DataFile;
  readonly index: BlockIndex;
  readonly open: OpenBlocks;
  readonly slots: SlotAllocator;
  readonly fences: FenceLog;
  readonly memory: MetadataMemory;
  readonly cuts: CutEpochs;
  readonly flusher: Flusher;
  readonly health: Health;
  readonly counters: StoreCounters;
  readonly clock: Clock;
  readonly log: Log;
}

const cachedBytesDefault = 1024 * 1024 * 1024;
const bufferBytesDefault = 128 * 1024 * 1024;
const asideBytesDefault = 64 * 1024;
const buffersMin = 4;
const smallBuffersMax = 64;
const segmentsMin = 4;

export async function openParts(options: DiskStoreOptions, deps: DiskStoreDeps): Promise<StoreParts> {
  requireOptions(options);
  const { disk } = deps;
  const opened: { close(): void }[] = [disk];
  try {
    disk.lock();
    const identity = await raiseIdentity(options, deps);
    const counters = storeCounters(deps.metrics);
    // Set below: the store is poisoned by I/O, and there is none before.
    let parts: StoreParts | null = null;
    const health = new Health({
      onPoisoned: (error) => {
        deps.log.error("The store is poisoned.", { error });
        parts?.slots.fail(error);
        deps.onPoisoned?.(error);
      },
    });
    const fences = await FenceLog.open({ disk, health, log: deps.log, flushes: counters.flushes });
    opened.unshift(fences);
    const { clock, log } = deps;
    const memory = MetadataMemory.open(options.lookMsMax ?? null, { disk, clock, health, log });
    const file = disk.openFile(dataFileName, { create: false });
    opened.unshift(file);
    await file.dataSync();
    const pool = buildPool(options, identity, disk);
    parts = buildParts(options, deps, pool, {
      identity,
      counters,
      health,
      fences,
      memory,
      file,
    });
    await recover(parts, pool, options);
    publish(parts, options, deps.metrics);
    return parts;
  } catch (error) {
    for (const each of opened) each.close();
    throw error;
  }
}

function requireOptions({ blockBytes, sizeBytes }: DiskStoreOptions): void {
  const isPower = Number.isSafeInteger(Math.log2(blockBytes));
  if (!isPower || blockBytes < blockBytesMin || blockBytes > blockBytesMax) {
    throw new TorusError(
      "invalid-argument",
      `a block size of ${blockBytes} is not a power of two from ${formatBytes(blockBytesMin)} to ${formatBytes(blockBytesMax)}`,
    );
  }
  const least = layoutOf(blockBytes, blockBytes).strideBytes * segmentsMin;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < least) {
    throw new TorusError(
      "invalid-argument",
      `a store of ${formatBytes(sizeBytes)} is too small for blocks of ${formatBytes(blockBytes)}: give it ${formatBytes(least)} or more`,
    );
  }
}

/** Segments of 32 MiB; smaller ones in a small store, so that both slot classes find room. */
function segmentBytesFor({ blockBytes, sizeBytes }: DiskStoreOptions): number {
  let bytes = Math.max(blockBytes, segmentBytesDefault);
  while (bytes > blockBytes && bytes > sizeBytes / 16) bytes /= 2;
  return bytes;
}

/** The identity with its incarnation raised, durably; the directory is made a store if it is empty. */
async function raiseIdentity(options: DiskStoreOptions, deps: DiskStoreDeps): Promise<Identity> {
  const { disk, clock, random, log } = deps;
  const { sizeBytes, blockBytes } = options;
  let identity = readIdentity(disk);
  if (identity === null || identity.incarnation === 0) {
    const segmentBytes = segmentBytesFor(options);
    const createdMs = Math.round(clock.wallMs());
    identity = { peer: random.uuid(), createdMs, incarnation: 0, sizeBytes, blockBytes, segmentBytes };
    writeIdentity(disk, identity);
    await FenceLog.create(disk);
    disk.openFile(dataFileName, { create: true }).close();
    log.info("A new store was made.", { peer: identity.peer, size: formatBytes(sizeBytes) });
  }
  if (!disk.exists(dataFileName)) {
    throw new TorusError(
      "corrupt",
      `${dataFileName} is missing beside identity.json. Empty the directory to start this disk as a new peer`,
    );
  }
  requireFits(identity, blockBytes, sizeBytes, 0);
  const raised = { ...identity, incarnation: identity.incarnation + 1 };
  writeIdentity(disk, raised);
  return raised;
}

interface Prepared {
  readonly identity: Identity;
  readonly counters: StoreCounters;
  readonly health: Health;
  readonly fences: FenceLog;
  readonly memory: MetadataMemory;
  readonly file: DiskFile;
}

function buildPool(options: DiskStoreOptions, identity: Identity, disk: Disk): BufferPool {
  const layout = layoutOf(identity.blockBytes, identity.segmentBytes);
  const bufferBytesMax = options.bufferBytesMax ?? bufferBytesDefault;
  const classes = layout.classes.map((bytes) => {
    const least = bytes === smallSlotBytes ? smallBuffersMax : buffersMin;
    const isLargest = bytes === layout.blockBytes;
    return { bytes, buffersMax: isLargest ? Math.max(least, Math.floor(bufferBytesMax / bytes)) : least };
  });
  return new BufferPool({ classes }, { disk });
}

function buildParts(
  options: DiskStoreOptions,
  deps: DiskStoreDeps,
  pool: BufferPool,
  prepared: Prepared,
): StoreParts {
  const { disk, clock, log } = deps;
  const { identity, counters, health, fences, memory, file } = prepared;
  const layout = layoutOf(identity.blockBytes, identity.segmentBytes);
  const { cachedBytesMax = cachedBytesDefault } = options;
  const data = new DataFile({ layout, peer: identity.peer, cachedBytesMax }, { file, disk, health });
  const { asideBytesMin = asideBytesDefault } = options;
  const open = new OpenBlocks({ asideBytesMin }, { data, pool, clock, health });
  const index = new BlockIndex();
  const slots = new SlotAllocator({ sizeBytes: options.sizeBytes }, { data, disk, clock, log, health });
  const flusher = new Flusher({
    file,
    health,
    flushes: counters.flushes,
    settle: () => open.settle(),
    prepare: () => open.prepareFlush(),
  });
  const cuts = new CutEpochs(identity.incarnation, fences.epochs, { disk, log, index, open });
  const state = { data, index, open, slots, fences, cuts, memory, flusher };
  return { identity, layout, disk, file, ...state, health, counters, clock, log };
}

async function recover(parts: StoreParts, pool: BufferPool, options: DiskStoreOptions): Promise<void> {
  const { identity, data, disk, file, index, open, slots, log, layout, flusher, counters } = parts;
  const tables = scanTables({ data, file, disk, log });
  requireFits(identity, options.blockBytes, options.sizeBytes, data.segments * layout.strideBytes);
  if (identity.sizeBytes !== options.sizeBytes)
    writeIdentity(disk, { ...identity, sizeBytes: options.sizeBytes });
  const slotClass = layout.classes.length - 1;
  const buffer = pool.take(slotClass) as Uint8Array;
  const { freed, damagedBlocks } = recoverBlocks(tables, { data, index, open, slots, log, buffer });
  pool.give(slotClass, buffer);
  counters.failedBlocks.add(damagedBlocks);
  for (const slot of freed) slots.freeing(slot);
  if (freed.length > 0) await flusher.flush();
  for (const slot of freed) slots.freed(slot);
  parts.cuts.recall();
  slots.start();
  log.info("The store is open.", { blocks: index.size, segments: data.segments, freed: freed.length });
}

function publish(parts: StoreParts, options: DiskStoreOptions, metrics: Metrics): void {
  const { index, slots, fences, health } = parts;
  publishGauges(metrics, {
    blocks: () => index.size,
    blockBytes: options.blockBytes,
    usedBytes: () => slots.usedBytes,
    sizeBytes: options.sizeBytes,
    volumesFenced: () => fences.size,
    poisoned: () => health.poison !== null,
  });
}
