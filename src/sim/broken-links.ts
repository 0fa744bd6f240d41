// What canaries put between a client and the stores of peers: writers and recoverers that break one rule each.

import type {
  AppendPurpose,
  BlockRef,
  BlockStatus,
  Epoch,
  FenceBasis,
  FenceReport,
  Progress,
  VolumeId,
} from "#model";
import {
  blockRefKey,
  crc32,
  decodeRecordFrame,
  isTorusError,
  pageBytes,
  recordEntriesOffset,
  recordFrameLayout,
  recordHeaderChecksum,
  TorusError,
} from "#model";
import { PassingStore } from "./passing-store.ts";

/** A peer that does not answer the fence is taken for one that has nothing. */
export class SilenceIsAbsence extends PassingStore {
  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    try {
      return await super.fence(volume, epoch, logEpoch, fromIndex, basis);
    } catch (error) {
      if (isTorusError(error, "fenced")) throw error;
      return { epoch, blocks: [], durableIndex: 0, durableOffset: 0, cutEpoch: 0 };
    }
  }
}

/** Open blocks of the tail are taken for sealed and durable ones, so they are not appended again. */
export class TailIsFinal extends PassingStore {
  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const report = await super.fence(volume, epoch, logEpoch, fromIndex, basis);
    const blocks = report.blocks.map(
      (status): BlockStatus => ({ ...status, state: "sealed", durable: status.held }),
    );
    return { ...report, blocks };
  }
}

/** A member that fails an append counts as having it, and everything after. */
export class FailedIsHeld extends PassingStore {
  readonly #claimed = new Map<string, number>();

  override async append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    const key = blockRefKey(ref);
    const end = offset + bytes.length;
    try {
      if (!this.#claimed.has(key)) return await super.append(ref, offset, bytes, capacityBytes, purpose);
    } catch (error) {
      if (isTorusError(error, "fenced", "full")) throw error;
    }
    this.#claimed.set(key, end);
    return { held: end, durable: end };
  }

  override async sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    const real = refs.filter((ref) => !this.#claimed.has(blockRefKey(ref)));
    const answers = real.length > 0 ? await super.sync(real) : [];
    return refs.map((ref) => {
      const claimed = this.#claimed.get(blockRefKey(ref));
      return claimed === undefined ? answers[real.indexOf(ref)] : { held: claimed, durable: claimed };
    });
  }

  override async seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    if (!this.#claimed.has(blockRefKey(ref))) await super.seal(ref, length, checksum);
  }
}

/** What is sent after a failure is built anew, with newer bytes in one page, though other members have it as it was. */
export class RetryDiffers extends PassingStore {
  #failed = false;

  override async append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    const sent = this.#failed ? withOtherPage(bytes) : bytes;
    this.#failed = false;
    try {
      return await super.append(ref, offset, sent, capacityBytes, purpose);
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }
}

/** The records in `bytes`, the last data page of the last one changed, all its sums right. */
function withOtherPage(bytes: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(bytes);
  let at = 0;
  for (;;) {
    const frame = decodeRecordFrame(changed, at);
    if (frame === null || frame.pages === 0) return changed;
    if (at + frame.lengthBytes < changed.length) {
      at += frame.lengthBytes;
      continue;
    }
    const page = changed.subarray(at + frame.pages * pageBytes, at + (frame.pages + 1) * pageBytes);
    page.fill(0x5a, 0, 512);
    const view = new DataView(changed.buffer);
    view.setUint32(at + recordEntriesOffset + (frame.pages - 1) * 12 + 8, crc32(page), true);
    const header = changed.subarray(at, at + pageBytes);
    view.setUint32(at + recordFrameLayout.checksum, recordHeaderChecksum(header), true);
    return changed;
  }
}

/** A peer that failed once is never heard again. */
export class LostForEver extends PassingStore {
  #lost = false;

  override append(
    ref: BlockRef,
    offset: number,
    bytes: Uint8Array,
    capacityBytes: number,
    purpose?: AppendPurpose,
  ): Promise<Progress> {
    return this.#unlessLost(() => super.append(ref, offset, bytes, capacityBytes, purpose));
  }

  override sync(refs: readonly BlockRef[]): Promise<Progress[]> {
    return this.#unlessLost(() => super.sync(refs));
  }

  override stat(refs: readonly BlockRef[]): Promise<BlockStatus[]> {
    return this.#unlessLost(() => super.stat(refs));
  }

  override seal(ref: BlockRef, length: number, checksum: number): Promise<void> {
    return this.#unlessLost(() => super.seal(ref, length, checksum));
  }

  async #unlessLost<Result>(run: () => Promise<Result>): Promise<Result> {
    if (this.#lost) throw new TorusError("unavailable", "this peer was lost before");
    try {
      return await run();
    } catch (error) {
      this.#lost = isTorusError(error, "unavailable", "timeout");
      throw error;
    }
  }
}
