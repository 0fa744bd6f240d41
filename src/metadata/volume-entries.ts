// The keys of one volume as they were read at one revision, decoded together: a volume without its spec or without its
// writer key is damage, never a volume that has no epoch yet.

import type { VolumeId } from "#model";
import { TorusError } from "#model";
import type { VolumePart } from "./keys.ts";
import { parseVolumeKey, requestsPrefix, snapshotsPrefix, volumeKey, volumePrefix } from "./keys.ts";
import type { HistoryRecord, SnapshotRecord, VolumeState } from "./records.ts";
import type { RecordCodec } from "./records-codec.ts";
import {
  adoptedCodec,
  clientsCodec,
  cutCodec,
  headCodec,
  leaseCodec,
  logMapCodec,
  statusCodec,
  writerCodec,
} from "./records-codec.ts";
import type { Guard, KeyValue } from "./service.ts";
import { historyCodec, originCodec, snapshotCodec } from "./snapshot-codec.ts";
import { specCodec } from "./spec-codec.ts";

export class VolumeEntries {
  readonly id: VolumeId;
  readonly #entries: ReadonlyMap<string, KeyValue>;

  /** `entries`: all keys below `volumes/<id>/` at one revision. */
  constructor(id: VolumeId, entries: readonly KeyValue[]) {
    this.id = id;
    this.#entries = new Map(entries.map((entry) => [entry.key, entry]));
  }

  has(part: VolumePart): boolean {
    return this.#entries.has(volumeKey(this.id, part));
  }

  /** 0 when absent, as guards have it. */
  revisionOf(part: VolumePart): number {
    return this.revisionOfKey(volumeKey(this.id, part));
  }

  /** The same for any key that was read. */
  revisionOfKey(key: string): number {
    return this.#entries.get(key)?.modRevision ?? 0;
  }

  textOfKey(key: string): string | null {
    return this.#entries.get(key)?.value ?? null;
  }

  /** The encoded record, to compare with what one wrote; null when absent. */
  textOf(part: VolumePart): string | null {
    return this.textOfKey(volumeKey(this.id, part));
  }

  /** The metadata service's lease on a key, 0 for none. */
  leaseOf(part: VolumePart): number {
    return this.#entries.get(volumeKey(this.id, part))?.lease ?? 0;
  }

  guard(part: VolumePart): Guard {
    return { key: volumeKey(this.id, part), revision: this.revisionOf(part) };
  }

  /** By name. */
  snapshots(): SnapshotRecord[] {
    return this.#below(snapshotsPrefix(this.id)).map((entry) => {
      const snapshot = snapshotCodec.decode(entry.key, entry.value);
      if (entry.key === `${snapshotsPrefix(this.id)}${snapshot.name}`) return snapshot;
      throw new TorusError("corrupt", `metadata key ${entry.key} names snapshot "${snapshot.name}"`, {
        key: entry.key,
      });
    });
  }

  history(): HistoryRecord | null {
    return this.#decode("history", historyCodec);
  }

  /** What is asked of the writer. */
  requests(): KeyValue[] {
    return this.#below(requestsPrefix(this.id));
  }

  /** Snapshots and requests: what a volume has any number of. */
  extra(): KeyValue[] {
    return [...this.#below(requestsPrefix(this.id)), ...this.#below(snapshotsPrefix(this.id))];
  }

  all(): KeyValue[] {
    return [...this.#entries.values()];
  }

  /** The entry of a key that was read beside the volume's; none when it is absent. */
  allOf(key: string): KeyValue[] {
    return this.#below(key);
  }

  #below(prefix: string): KeyValue[] {
    const found = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix));
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Needs all that is below `volumes/<id>/`. */
  state(): VolumeState {
    return {
      spec: this.#require("spec", specCodec),
      origin: this.#decode("origin", originCodec),
      snapshots: this.snapshots(),
      writer: this.#require("writer", writerCodec),
      lease: this.#decode("lease", leaseCodec),
      head: this.#decode("head", headCodec),
      logmap: this.#decode("logmap", logMapCodec),
      status: this.#decode("status", statusCodec),
      adopted: this.#decode("adopted", adoptedCodec),
      clients: this.#decode("clients", clientsCodec),
      cut: this.#decode("cut", cutCodec),
      history: this.history(),
      revisions: {
        spec: this.revisionOf("spec"),
        writer: this.revisionOf("writer"),
        head: this.revisionOf("head"),
        logmap: this.revisionOf("logmap"),
      },
    };
  }

  /** The same after a transaction at `revision` that set the writer and took lease and status away. */
  withoutLease(writer: string, revision: number): VolumeEntries {
    const writerKey = volumeKey(this.id, "writer");
    const gone = [volumeKey(this.id, "lease"), volumeKey(this.id, "status")];
    const kept = [...this.#entries.values()].filter((entry) => !gone.includes(entry.key));
    return new VolumeEntries(
      this.id,
      kept.map((entry) =>
        entry.key === writerKey ? { ...entry, value: writer, modRevision: revision } : entry,
      ),
    );
  }

  #decode<Value>(part: VolumePart, codec: RecordCodec<Value>): Value | null {
    const entry = this.#entries.get(volumeKey(this.id, part));
    return entry === undefined ? null : codec.decode(entry.key, entry.value);
  }

  #require<Value>(part: VolumePart, codec: RecordCodec<Value>): Value {
    const value = this.#decode(part, codec);
    if (value !== null) return value;
    throw new TorusError(
      "corrupt",
      `volume ${this.id} has no metadata key ${volumeKey(this.id, part)}: restore the metadata from a backup, do not recreate it`,
      { key: volumeKey(this.id, part), prefix: volumePrefix(this.id) },
    );
  }
}

/** Whether a writer's lease lives. */
export function isAttached(state: VolumeState): boolean {
  return state.lease !== null;
}

/** Divides the sorted entries below `volumes/` by volume. Throws `corrupt` for a key of another form. */
export function groupEntries(entries: readonly KeyValue[]): Map<VolumeId, KeyValue[]> {
  const groups = new Map<VolumeId, KeyValue[]>();
  let group: KeyValue[] = [];
  let prefix = "";
  for (const entry of entries) {
    const { key } = entry;
    if (prefix === "" || key.length === prefix.length || !key.startsWith(prefix)) {
      const parsed = parseVolumeKey(key);
      if (parsed === null)
        throw new TorusError("corrupt", `metadata key ${key} is of no known form`, { key });
      group = groups.get(parsed.id) ?? [];
      groups.set(parsed.id, group);
      prefix = volumePrefix(parsed.id);
    }
    group.push(entry);
  }
  return groups;
}

/** The same, to be decoded. */
export function groupVolumes(entries: readonly KeyValue[]): VolumeEntries[] {
  return [...groupEntries(entries)].map(([id, group]) => new VolumeEntries(id, group));
}
