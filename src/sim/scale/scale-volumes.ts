// ScaleVolumes: thousands of volumes as the metadata has them, some of them written, and what their INodes list: counted, not made.

import type { ClusterMetadata, HeadRecord, NodePointer, WriterAttachment } from "#metadata";
import type { NeededBlocks } from "#volume";
import type { Meter } from "./meter.ts";
import type { SampledBlocks } from "./sampled-blocks.ts";
import type { ScaleSize } from "./size.ts";

/** docs/formats/inode.md: a leaf is of 2 MiB of a volume; its pointer in the node above, a block's entry in the table, and how many fill a node. */
const leafBytes = 2 ** 21;
const pointerBytes = 40;
const entryBytes = 44;
const perNode = 512;
const entriesPerNode = 128;

interface Written {
  readonly attachment: WriterAttachment;
  guard: number;
}

export class ScaleVolumes {
  readonly #size: ScaleSize;
  readonly #metadata: ClusterMetadata;
  readonly #written: Written[] = [];
  #checkpoints = 1;
  #ringVersion: number;

  /** `ringVersion`: in force. */
  constructor(size: ScaleSize, ringVersion: number, metadata: ClusterMetadata) {
    this.#size = size;
    this.#ringVersion = ringVersion;
    this.#metadata = metadata;
  }

  get volumeBytes(): number {
    const { peers, diskBytes, usedShare, replicas, volumes } = this.#size;
    return (peers * diskBytes * usedShare) / replicas / volumes;
  }

  get written(): number {
    return this.#written.length;
  }

  /** Nodes of one volume's INode that a collector reads when all of it has changed, and their bytes. */
  get inode(): { readonly nodes: number; readonly bytes: number } {
    const leaves = Math.ceil(this.volumeBytes / leafBytes);
    const blocks = Math.ceil(this.volumeBytes / this.#size.blockBytes);
    const nodes = 5 + Math.ceil(leaves / perNode) + Math.ceil(blocks / entriesPerNode);
    return { nodes, bytes: leaves * pointerBytes + blocks * entryBytes };
  }

  /** Makes all volumes, each written once; those that are written go on being attached. */
  async make(): Promise<void> {
    const { volumes, writtenShare } = this.#size;
    const metadata = this.#metadata;
    for (let i = 1; i <= volumes; i++) {
      const sizeBytes = 2 * Math.ceil(this.volumeBytes / 4096) * 4096;
      const { id } = await metadata.volumes.create({
        name: `volume-${i}`,
        sizeBytes,
        acknowledge: "replicated",
        minReplicas: 2,
      });
      const request = {
        owner: `o${i}`,
        holder: `client-${i % 500}`,
        leaseTtlMs: 24 * 3_600_000,
        force: false,
      };
      const attachment = await metadata.writers.attachWriter(id, request);
      const isWritten = i <= volumes * writtenShare;
      const unread = { head: 0, logmap: 0 };
      const guard = await metadata.writers.commitHead(attachment, this.#records(id, !isWritten), unread);
      if (isWritten) this.#written.push({ attachment, guard });
      else await metadata.writers.detachWriter(attachment, true);
    }
  }

  /** Every volume that is written commits a checkpoint, and goes on by the ring in force. */
  async checkpoint(ringVersion: number): Promise<void> {
    this.#checkpoints += 1;
    this.#ringVersion = ringVersion;
    for (const written of this.#written) {
      const { attachment, guard } = written;
      const records = this.#records(attachment.volume, false);
      written.guard = await this.#metadata.writers.commitHead(attachment, records, {
        head: guard,
        logmap: guard,
      });
    }
  }

  #records(volume: number, ended: boolean) {
    const ringVersion = this.#ringVersion;
    const head: HeadRecord = {
      epoch: 1,
      root: {
        ref: { type: 1, volume, epoch: 1, index: this.#checkpoints },
        offset: 0,
        length: 104,
        checksum: 7,
      },
      ringVersion,
      replayFrom: 1_000_000,
      sequence: 1_000_000,
      previous: 1,
      positionIndex: 1_000_000,
      positionOffset: 0,
      usedBytes: Math.round(this.volumeBytes),
      logBytes: Math.round(this.volumeBytes),
      ended,
      timeMs: 0,
      device: null,
    };
    const rows = [{ fromIndex: 1_000_000, ringVersion, replicas: this.#size.replicas, without: [] }];
    return { head, logmap: { epoch: 1, rows, struck: [] } };
  }
}

/** Walks INodes that are not there: what they need is the sample's; what reading them would cost is counted. */
export class CountedInodes implements Pick<NeededBlocks, "walk"> {
  readonly #reading: { readonly reads: number; readonly keys: number; readonly bytes: number };
  readonly #blocks: SampledBlocks;
  readonly #meter: Meter;

  constructor(volumes: ScaleVolumes, blocks: SampledBlocks, meter: Meter) {
    const { nodes, bytes } = volumes.inode;
    this.#reading = { reads: nodes, keys: 1, bytes };
    this.#blocks = blocks;
    this.#meter = meter;
  }

  walk: NeededBlocks["walk"] = async (roots: readonly NodePointer[], _, note) => {
    for (const { ref } of roots) {
      this.#meter.add("INodes", this.#reading);
      note(ref);
      for (const block of this.#blocks.ofVolume(ref.volume)) note(block);
    }
  };
}
