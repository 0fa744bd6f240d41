// What canaries break between a volume and the clients that outlive its writer [C2]: each lets them go on where they must not.

import type { Epoch, FenceBasis, FenceReport, VolumeId } from "#model";
import type { AttachedVolume } from "#volume";
import { withVolume } from "./broken-clients.ts";
import { PassingStore } from "./passing-store.ts";

/** Whoever comes back is served. */
export function carriedOver(volume: AttachedVolume): AttachedVolume {
  return withVolume(volume, { cut: async () => null });
}

/** A peer does not know that it restarted. */
export class CutForgotten extends PassingStore {
  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    return { ...(await super.fence(volume, epoch, logEpoch, fromIndex, basis)), cutEpoch: 0 };
  }
}

/** A peer that restarted goes by the marks of the blocks it has, and speaks for those that it lost whole. */
export class MarksTellAll extends PassingStore {
  override async fence(
    volume: VolumeId,
    epoch: Epoch,
    logEpoch: Epoch,
    fromIndex: number,
    basis: FenceBasis | null,
  ): Promise<FenceReport> {
    const report = await super.fence(volume, epoch, logEpoch, fromIndex, basis);
    return { ...report, cutEpoch: report.blocks.some(({ cut }) => cut) ? report.cutEpoch : 0 };
  }
}
