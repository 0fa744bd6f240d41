// VolumeStates: all volumes as decoded, remembered from one read of all metadata to the next. Whoever looks at all of it does so again and again, of ten
// thousand volumes nearly all are as they were, and decoding them takes a quarter of a second of a thread that serves users besides. So a volume
// of which every key has the same revision and the same text as before is the same object as before; revisions alone would not do, since those of
// metadata that was restored from a backup are used twice. Memory is bounded; what does not fit is decoded each time.

import type { Clock } from "#host";
import { sleep } from "#host";
import type { VolumeId } from "#model";
import type { VolumeState } from "./records.ts";
import type { KeyValue } from "./service.ts";
import { groupEntries, VolumeEntries } from "./volume-entries.ts";

export interface VolumeStatesOptions {
  /** Of the keys and values that are remembered. */
  readonly rememberedBytesMax?: number;
}

interface Known {
  readonly entries: readonly KeyValue[];
  readonly state: VolumeState;
}

const rememberedBytesMax = 64 * 2 ** 20;
/** Volumes that are decoded in one turn: some milliseconds. */
const decodedAtOnce = 256;

export class VolumeStates {
  readonly #rememberedBytesMax: number;
  readonly #clock: Clock;
  #known = new Map<VolumeId, Known>();

  constructor(options: VolumeStatesOptions, deps: { readonly clock: Clock }) {
    this.#rememberedBytesMax = options.rememberedBytesMax ?? rememberedBytesMax;
    this.#clock = deps.clock;
  }

  /** `entries`: all keys below `volumes/` at one revision, sorted. Rejects with `corrupt` when any of it cannot be read. */
  async decode(entries: readonly KeyValue[]): Promise<ReadonlyMap<VolumeId, VolumeState>> {
    const known = this.#known;
    const next = new Map<VolumeId, Known>();
    const states = new Map<VolumeId, VolumeState>();
    let bytes = 0;
    let decoded = 0;
    for (const [id, own] of groupEntries(entries)) {
      let volume = known.get(id);
      if (volume === undefined || !isSame(volume.entries, own)) {
        if (decoded > 0 && decoded % decodedAtOnce === 0) await sleep(this.#clock, 0);
        decoded += 1;
        volume = { entries: own, state: new VolumeEntries(id, own).state() };
      }
      states.set(id, volume.state);
      bytes += bytesOfEntries(own);
      if (bytes <= this.#rememberedBytesMax) next.set(id, volume);
    }
    this.#known = next;
    return states;
  }
}

function isSame(before: readonly KeyValue[], now: readonly KeyValue[]): boolean {
  return (
    before.length === now.length &&
    now.every(({ key, value, modRevision }, i) => {
      const other = before[i];
      return modRevision === other.modRevision && value === other.value && key === other.key;
    })
  );
}

function bytesOfEntries(entries: readonly KeyValue[]): number {
  let bytes = 0;
  for (const { key, value } of entries) bytes += key.length + value.length;
  return bytes;
}
