// What a target says of itself, of its backups, and of those that are under way (docs/formats/backup.md).

import { pageBytes, TorusError } from "#model";
import { chunkBytesMax, chunkBytesMin, segmentChunks } from "./chunk-codec.ts";
import type { RecordFields } from "./record-text.ts";
import { decodeRecord, encodeRecord } from "./record-text.ts";

export interface RepositoryRecord {
  /** A UUID. */
  readonly id: string;
  readonly chunkBytes: number;
  readonly createdMs: number;
}

/** A volume as no other is: cluster and id. */
export interface VolumeIdentity {
  readonly name: string;
  readonly id: number;
  readonly cluster: string;
}

export interface SnapshotIdentity {
  readonly name: string;
  readonly token: string;
  readonly createdMs: number;
}

/** What is settled when a backup begins. */
export interface BackupHead {
  readonly name: string;
  readonly volume: VolumeIdentity;
  readonly snapshot: SnapshotIdentity;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  /** Name of the backup it began from; null: all was read. */
  readonly parent: string | null;
  readonly createdMs: number;
}

export interface BackupManifest extends BackupHead {
  readonly finishedMs: number;
  /** Of its chunks, before compression. */
  readonly contentBytes: number;
  /** What was read of the volume, and what was put to the target, for this backup. */
  readonly readBytes: number;
  readonly sentBytes: number;
  /** Null: nothing is in it. */
  readonly segments: readonly (SegmentDone | null)[];
}

export interface UnfinishedBackup extends BackupHead {
  /** Of the run that wrote this. */
  readonly lock: string;
  readonly readBytes: number;
  readonly sentBytes: number;
  /** Segments that are done, by number. */
  readonly done: ReadonlyMap<number, SegmentDone | null>;
}

export interface SegmentDone {
  /** Of its index. */
  readonly hash: string;
  /** Of its chunks. */
  readonly contentBytes: number;
}

export function encodeRepository(record: RepositoryRecord): Uint8Array {
  return encodeRecord("repository", record);
}

export function decodeRepository(bytes: Uint8Array, what: string): RepositoryRecord {
  const fields = decodeRecord("repository", bytes, what);
  return { id: fields.text("id"), chunkBytes: chunkSize(fields, what), createdMs: fields.count("createdMs") };
}

export function encodeManifest(manifest: BackupManifest): Uint8Array {
  const segments = manifest.segments.map(segmentEntry);
  return encodeRecord("backup", { ...manifest, segmentChunks, segments });
}

export function decodeManifest(bytes: Uint8Array, what: string): BackupManifest {
  const fields = decodeRecord("backup", bytes, what);
  const head = headOf(fields, what);
  const segments = fields.list("segments").map((entry) => decodeSegment(entry, what));
  if (segments.length !== segmentsOf(head))
    throw new TorusError("corrupt", `${what} has ${segments.length} segments for ${head.sizeBytes} bytes`);
  return {
    ...head,
    finishedMs: fields.count("finishedMs"),
    contentBytes: fields.count("contentBytes"),
    readBytes: fields.count("readBytes"),
    sentBytes: fields.count("sentBytes"),
    segments,
  };
}

export function encodeUnfinished({ done, ...rest }: UnfinishedBackup): Uint8Array {
  const list = [...done].map(([number, segment]) => [number, segmentEntry(segment)]);
  return encodeRecord("unfinished", { ...rest, segmentChunks, done: list });
}

export function decodeUnfinished(bytes: Uint8Array, what: string): UnfinishedBackup {
  const fields = decodeRecord("unfinished", bytes, what);
  const head = headOf(fields, what);
  const count = segmentsOf(head);
  const done = new Map<number, SegmentDone | null>();
  for (const entry of fields.list("done")) {
    const [number, segment] = Array.isArray(entry) ? entry : [];
    if (!isCount(number) || number >= count)
      throw new TorusError("corrupt", `${what} lists a segment that cannot be`);
    done.set(number, decodeSegment(segment, what));
  }
  return {
    ...head,
    lock: fields.text("lock"),
    readBytes: fields.count("readBytes"),
    sentBytes: fields.count("sentBytes"),
    done,
  };
}

export function segmentsOf({ sizeBytes, chunkBytes }: { sizeBytes: number; chunkBytes: number }): number {
  return Math.ceil(sizeBytes / chunkBytes / segmentChunks);
}

function headOf(fields: RecordFields, what: string): BackupHead {
  const volume = fields.record("volume");
  const snapshot = fields.record("snapshot");
  const sizeBytes = fields.count("sizeBytes");
  if (fields.count("segmentChunks") !== segmentChunks || sizeBytes % pageBytes !== 0)
    throw new TorusError("unsupported", `${what} is divided in a way that this Torus does not know`);
  return {
    name: fields.text("name"),
    volume: { name: volume.text("name"), id: volume.count("id"), cluster: volume.text("cluster") },
    snapshot: {
      name: snapshot.text("name"),
      token: snapshot.text("token"),
      createdMs: snapshot.count("createdMs"),
    },
    sizeBytes,
    chunkBytes: chunkSize(fields, what),
    parent: fields.textOrNull("parent"),
    createdMs: fields.count("createdMs"),
  };
}

function chunkSize(fields: RecordFields, what: string): number {
  const bytes = fields.count("chunkBytes");
  if (isChunkSize(bytes)) return bytes;
  throw new TorusError("corrupt", `${what} has chunks of ${bytes} bytes`);
}

/** A power of two within the limits. */
export function isChunkSize(bytes: number): boolean {
  return bytes >= chunkBytesMin && bytes <= chunkBytesMax && Number.isInteger(Math.log2(bytes));
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function segmentEntry(segment: SegmentDone | null): readonly [string, number] | null {
  return segment === null ? null : [segment.hash, segment.contentBytes];
}

function decodeSegment(entry: unknown, what: string): SegmentDone | null {
  if (entry === null) return null;
  const [hash, contentBytes] = Array.isArray(entry) ? entry : [];
  if (typeof hash === "string" && /^[0-9a-f]{64}$/.test(hash) && isCount(contentBytes))
    return { hash, contentBytes };
  throw new TorusError("corrupt", `${what} names a segment by what is no hash and size`);
}
