// The records of snapshots, clones and requests to a volume's writer <-> the text the metadata service keeps (records-codec.ts).

import { errorCodes } from "#model";
import { historyPointsMax } from "./history-machine.ts";
import {
  flag,
  integer,
  list,
  nullable,
  object,
  oneOf,
  positive,
  requireObject,
  text,
  variant,
} from "./record-fields.ts";
import type {
  HistoryPoint,
  HistoryRecord,
  OriginRecord,
  SnapshotRecord,
  VolumeOrder,
  VolumeRequestRecord,
} from "./records.ts";
import { messageCharsMax, record, recordFields } from "./records-codec.ts";

/** Clones of clones of clones: each link is a volume that cannot be deleted. */
export const basesMax = 64;

const { checksum, labels, milliseconds, name, nodePointer, offsetInBlock } = recordFields;
const { ringVersion, token, volumeId, volumeName, volumeSize } = recordFields;

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
  snapshot: object({ kind: oneOf(["snapshot"]), name, labels, atMs: nullable(milliseconds) }),
  resize: object({ kind: oneOf(["resize"]), sizeBytes: volumeSize, force: flag }),
});

const historyPoint = object<HistoryPoint>({
  timeMs: milliseconds,
  epoch: integer(1),
  root: nodePointer,
  ringVersion,
  replayFrom: integer(1),
  sequence: integer(0),
  previous: checksum,
  positionIndex: integer(0),
  positionOffset: offsetInBlock,
  sizeBytes: volumeSize,
  usedBytes: integer(0),
  logBytes: integer(0),
  blocks: integer(0),
  previousEnd: nullable(integer(1)),
  isForced: flag,
});

export const historyCodec = record<HistoryRecord>({
  keepMs: positive,
  points: list(historyPoint, historyPointsMax),
});

/** An order of before there was a past to ask for. */
function withoutTime(asked: unknown): unknown {
  const { kind, ...rest } = requireObject(asked, "order");
  return kind === "snapshot" ? { kind, ...rest, atMs: null } : asked;
}

/** Format 1 knew snapshots alone, format 2 those of the present. */
export const volumeRequestCodec = record<VolumeRequestRecord>(
  {
    order,
    createdMs: milliseconds,
    byMs: milliseconds,
    refusal: nullable(object({ code: oneOf(errorCodes), message: text(messageCharsMax) })),
  },
  {
    current: 3,
    upgrade: {
      1: ({ kind, name, labels, ...rest }) => ({ ...rest, order: { kind, name, labels } }),
      2: ({ order: asked, ...rest }) => ({ ...rest, order: withoutTime(asked) }),
    },
  },
);

export const originCodec = record<OriginRecord>({
  volume: volumeId,
  name: volumeName,
  snapshot: name,
  bases: list(volumeId, basesMax),
});
