// What a store can tell of the metadata and of its volumes, from its memory, fences and blocks: the same for every store.

import type { Epoch, Testimony, VolumeId, VolumeTrace } from "#model";
import type { MetadataKept } from "./metadata-memory-machine.ts";
import { requireInteger } from "./store-refusals.ts";

/** Each volume that has a fence or blocks, by id. A volume may come more than once in `held`. */
export function tracesOf(
  fences: ReadonlyMap<VolumeId, Epoch>,
  held: Iterable<VolumeTrace>,
): readonly VolumeTrace[] {
  const traces = new Map<VolumeId, VolumeTrace>();
  for (const [volume, epoch] of fences) traces.set(volume, { volume, epoch, blocks: 0 });
  for (const { volume, epoch, blocks } of held) {
    const known = traces.get(volume);
    traces.set(volume, {
      volume,
      epoch: Math.max(epoch, known?.epoch ?? 0),
      blocks: blocks + (known?.blocks ?? 0),
    });
  }
  return [...traces.values()].sort((a, b) => a.volume - b.volume);
}

/** The page of `traces` after volume `after`. */
export function testimonyOf(
  kept: MetadataKept,
  traces: readonly VolumeTrace[],
  after: VolumeId,
  limit: number,
): Testimony {
  requireInteger("the limit", limit, 1, Number.MAX_SAFE_INTEGER);
  const { view, behind, asOfMs } = kept;
  const rest = traces.filter(({ volume }) => volume > after);
  const volumes = rest.slice(0, limit);
  return { view, behind, asOfMs, volumes, next: rest.length > limit ? volumes[limit - 1].volume : null };
}
