// The counters of a store on disk. The names are those of the original Torus where it had one; they are plain additions
// here and are read when somebody asks.

import type { Counter, Metrics } from "#host";

export interface StoreCounters {
  readonly readBlocks: Counter;
  readonly readBytes: Counter;
  readonly coldReads: Counter;
  readonly writtenBlocks: Counter;
  readonly writtenBytes: Counter;
  readonly appendedBytes: Counter;
  readonly deletedBlocks: Counter;
  readonly failedBlocks: Counter;
  readonly failedWrittenBlocks: Counter;
  readonly failedDeletedBlocks: Counter;
  readonly flushes: Counter;
}

export interface StoreGauges {
  readonly blocks: () => number;
  readonly blockBytes: number;
  readonly usedBytes: () => number;
  readonly sizeBytes: number;
  readonly volumesFenced: () => number;
  readonly poisoned: () => boolean;
}

export function storeCounters(metrics: Metrics): StoreCounters {
  return {
    readBlocks: metrics.counter("torus_storage_read_blocks", "Reads of a block or a part of one."),
    readBytes: metrics.counter("torus_storage_read_bytes", "Bytes read from blocks."),
    coldReads: metrics.counter(
      "torus_storage_cold_reads",
      "Reads of what was not known to be in the system's page cache.",
    ),
    writtenBlocks: metrics.counter("torus_storage_written_blocks", "Blocks sealed or put."),
    writtenBytes: metrics.counter("torus_storage_written_bytes", "Bytes appended or put."),
    appendedBytes: metrics.counter("torus_storage_appended_bytes", "Bytes appended by writers."),
    deletedBlocks: metrics.counter("torus_storage_deleted_blocks", "Blocks removed."),
    failedBlocks: metrics.counter(
      "torus_storage_failed_blocks",
      "Blocks found whose bytes or entry do not verify.",
    ),
    failedWrittenBlocks: metrics.counter(
      "torus_storage_failed_written_blocks",
      "Appends, seals and puts refused.",
    ),
    failedDeletedBlocks: metrics.counter("torus_storage_failed_deleted_blocks", "Removals that failed."),
    flushes: metrics.counter("torus_storage_flushes", "fdatasync calls that succeeded."),
  };
}

export function publishGauges(metrics: Metrics, gauges: StoreGauges): void {
  const { blockBytes, sizeBytes } = gauges;
  metrics.gauge("torus_storage_blocks", "Blocks here.", gauges.blocks);
  metrics.gauge("torus_storage_blocks_total", "Blocks of full size there is room for.", () =>
    Math.floor(sizeBytes / blockBytes),
  );
  metrics.gauge("torus_storage_block_bytes", "The cluster's block size.", () => blockBytes);
  metrics.gauge("torus_storage_used_bytes", "Slots in use, at their full size.", gauges.usedBytes);
  metrics.gauge("torus_storage_size_bytes", "What the operator gave this store.", () => sizeBytes);
  metrics.gauge("torus_storage_fenced_volumes", "Volumes of which an epoch is stored.", gauges.volumesFenced);
  metrics.gauge("torus_storage_poisoned", "1 after a disk error, until the store is restarted.", () =>
    gauges.poisoned() ? 1 : 0,
  );
}
