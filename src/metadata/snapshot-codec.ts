// The records of snapshots, clones and requests to a volume's writer <-> the text the metadata service keeps (records-codec.ts).

import { errorCodes } from "#model";
import { flag, integer, list, nullable, object, oneOf, text, variant } from "./record-fields.ts";
import type { OriginRecord, SnapshotRecord, VolumeOrder, VolumeRequestRecord } from "./records.ts";
import { messageCharsMax, record, recordFields } from "./records-codec.ts";

/** Clones of clones of clones: each link is a volume that cannot be deleted. */
export const basesMax = 64;

const { labels, milliseconds, name, nodePointer, ringVersion, token, volumeId, volumeSize } = recordFields;

export const snapshotCodec = record<SnapshotRecord>({
  name,
  createdMs: milliseconds,
  token,
  sizeBytes: volumeSize,
  epoch: integer(1),
  root: nodePointer,
  endIndex: integer(1),
  ringVersion,
  usedBytes: integer(0),
  logBytes: integer(0),
  labels,
});

const order = variant<VolumeOrder>({
  snapshot: object({ kind: oneOf(["snapshot"]), name, labels }),
  resize: object({ kind: oneOf(["resize"]), sizeBytes: volumeSize, force: flag }),
});

/** Format 1 knew snapshots alone. */
export const volumeRequestCodec = record<VolumeRequestRecord>(
  {
    order,
    createdMs: milliseconds,
    byMs: milliseconds,
    refusal: nullable(object({ code: oneOf(errorCodes), message: text(messageCharsMax) })),
  },
  {
    current: 2,
    upgrade: { 1: ({ kind, name, labels, ...rest }) => ({ ...rest, order: { kind, name, labels } }) },
  },
);

export const originCodec = record<OriginRecord>({
  volume: volumeId,
  name,
  snapshot: name,
  bases: list(volumeId, basesMax),
});
