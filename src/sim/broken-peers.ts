// What canaries put into peers: disks and stores that break one rule each.

import type { Disk, DiskFile } from "#host";
import type { AppendPurpose, BlockRef, BlockStatus, Epoch, FenceReport, Progress, VolumeId } from "#model";
import { blockType } from "#model";
import { PassingStore } from "./passing-store.ts";

/** A disk whose fdatasync does nothing: `skips` says of each call, counted from the mount, whether it is skipped. */
export function lyingDisk(disk: Disk, skips: (call: number) => boolean): Disk {
  return {
    lock: () => disk.lock(),
    exists: (name) => disk.exists(name),
    names: () => disk.names(),
    readText: (name) => disk.readText(name),
    writeTextDurably: (name, text) => disk.writeTextDurably(name, text),
    allocateAligned: (bytes) => disk.allocateAligned(bytes),
    space: () => disk.space(),
    close: () => disk.close(),
    openFile: (name, options) => lyingFile(disk.openFile(name, options), skips),
  };
}

function lyingFile(file: DiskFile, skips: (call: number) => boolean): DiskFile {
  let calls = 0;
  return {
    sizeBytes: () => file.sizeBytes(),
    writeSync: (source, offset) => file.writeSync(source, offset),
    write: (source, offset) => file.write(source, offset),
    readSync: (target, offset) => file.readSync(target, offset),
    bringIn: (offset, length) => file.bringIn(offset, length),
    readDirectSync: (target, offset) => file.readDirectSync(target, offset),
    zeroFill: (from, to) => file.zeroFill(from, to),
    dataSync: async () => {
      calls += 1;
      if (!skips(calls)) await file.dataSync();
    },
    close: () => file.close(),
  };
}

/** Says durable as soon as it holds. */
export class HastyStore extends PassingStore {
  override async append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    const { held } = await super.append(ref, offset, bytes, capacityBytes, purpose);
    return { held, durable: held };
  }

  override async sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    const statuses = await super.stat(refs);
    return statuses.map(({ held }) => ({ held, durable: held }));
  }
}

/** Answers a fence without keeping it: older epochs write on. */
export class FencelessStore extends PassingStore {
  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
  ): Promise<FenceReport> {
    const first = { type: blockType.data, volume, epoch: logEpoch, index: Math.max(0, fromIndex - 1) };
    const { blocks } = await super.list(first, 10_000);
    const own = blocks.filter(
      ({ ref }) => ref.volume === volume && ref.epoch === logEpoch && ref.type === blockType.data,
    );
    return { epoch, blocks: own, durableIndex: 0, durableOffset: 0, cutEpoch: 0 };
  }
}

/** Now and then takes an append, calls it durable, and drops it: the same one on every peer. */
export class DroppingStore extends PassingStore {
  override async append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    const end = offset + bytes.length;
    const isNew = ((await super.stat([ref])).at(0) as BlockStatus).held === offset;
    if (offset > 0 && isNew && (ref.index * 31 + offset / 4096) % 5 === 0) return { held: end, durable: end };
    return super.append(ref, offset, bytes, capacityBytes, purpose);
  }
}
