// Records <-> the JSON text the metadata service keeps: {"format":N, ...fields}. Equal records encode to equal text
// (fields in the order below), which is how an operation recognizes its own write after a time-out. Reading is strict
// (record-fields.ts): anything else is `corrupt` and names the key; a format from the future is `unsupported`.
// docs/formats/metadata.md describes every field.

import { parseAddress } from "#host";
import type { BlockRef, PeerId } from "#model";
import {
  blockBytesMax,
  blockBytesMin,
  isTorusError,
  messageOf,
  pageBytes,
  replicasMax,
  TorusError,
  volumeBytesMax,
  volumeIdMax,
  volumeNameCharsMax,
} from "#model";
import type { RingDescription } from "#ring";
import { decodeRingDescription, ringMembersMax } from "#ring";
import { peerIdCharsMax, ringVersionMax } from "./keys.ts";
import type { Field, Shape } from "./record-fields.ts";
import {
  FieldError,
  flag,
  integer,
  labels,
  list,
  notNegative,
  nullable,
  object,
  oneOf,
  pick,
  positive,
  requireObject,
  text,
} from "./record-fields.ts";
import type {
  AdoptedRecord,
  AdoptionRecord,
  BehindRecord,
  Boot,
  ClientsRecord,
  ClusterRecord,
  CollectedRecord,
  CutRecord,
  HeadRecord,
  LeaseRecord,
  LogMapRecord,
  LogRow,
  MinterRecord,
  NameRecord,
  NodePointer,
  PeerAliveRecord,
  PeerRecord,
  RemovedPeerRecord,
  RingPointerRecord,
  ScrubReport,
  StatusRecord,
  Strike,
  TombstoneRecord,
  UpkeepRecord,
  UpkeepReport,
  WriterRecord,
} from "./records.ts";

/** Of records that never changed. */
const firstFormat = 1;

/** How a record came to be as it is: the format written now, and what turns the fields of an older one into those of the next. */
interface Formats {
  readonly current: number;
  readonly upgrade: Readonly<Record<number, (fields: Record<string, unknown>) => Record<string, unknown>>>;
}

const unchanged: Formats = { current: firstFormat, upgrade: {} };

export const logRowsMax = 4096;
export const strikesMax = 4096;
/** Tombstones a heartbeat names. */
export const collectedVolumesMax = 4096;
/** As in #ring: a peer brings its labels into the ring. */
const labelsMax = 16;
const labelCharsMax = 63;
export const messageCharsMax = 1024;
const deviceTokenCharsMax = 64;

export interface RecordCodec<Value> {
  /** Throws `invalid-argument` when a field of `value` is out of bounds. */
  encode(value: Value): string;
  /** Throws `corrupt` (or `unsupported`) naming `key`. */
  decode(key: string, text: string): Value;
}

/** A peer of each member a ring may have. */
const peersMax = ringMembersMax;

const epoch = integer(0);
const peerId: Field<PeerId> = text(peerIdCharsMax, /^[0-9A-Za-z][0-9A-Za-z._-]*$/);
const volumeId = integer(1, volumeIdMax);
const milliseconds = notNegative;
const ringVersion = integer(1, ringVersionMax);
const replicas = integer(1, replicasMax);
const token = text(128);
const checksum = integer(0, 2 ** 32 - 1);

function multipleOf(unit: number, field: Field<number>): Field<number> {
  return (value, path) => {
    const number = field(value, path);
    if (number % unit !== 0) throw new FieldError(`${path} must be a multiple of ${unit}, not ${number}`);
    return number;
  };
}

const blockRef = object<BlockRef>({
  type: integer(0, 2 ** 24 - 1),
  volume: volumeId,
  epoch: integer(1),
  index: integer(1),
});

const nodePointer = object<NodePointer>({
  ref: blockRef,
  offset: integer(0, blockBytesMax),
  length: integer(1, blockBytesMax),
  checksum,
});

const logRow = object<LogRow>({
  fromIndex: integer(1),
  ringVersion,
  replicas,
  without: list(peerId, ringMembersMax),
});

const strike = object<Strike>({ peer: peerId, fromIndex: integer(1), toIndex: integer(1) });

/** #ring knows what a description may say. */
const ringDescription: Field<RingDescription> = (value, path) => {
  try {
    return decodeRingDescription(value);
  } catch (error) {
    if (!isTorusError(error)) throw error;
    throw new FieldError(`${path} is not a ring: ${error.message}`);
  }
};

function parse<Value>(field: Field<Value>, formats: Formats, key: string, encoded: string): Value {
  const { current, upgrade } = formats;
  try {
    const { format, ...written } = requireObject(JSON.parse(encoded), "the record");
    if (typeof format === "number" && Number.isSafeInteger(format) && format > current) {
      throw new TorusError(
        "unsupported",
        `metadata key ${key} has format ${format}, this program knows up to ${current}: use a newer torus`,
        { key },
      );
    }
    if (typeof format !== "number" || !Number.isInteger(format) || format < firstFormat)
      throw new FieldError(`format must be a number from ${firstFormat} to ${current}`);
    let fields = written;
    for (let from = format; from < current; from++) fields = upgrade[from](fields);
    return field(fields, "record");
  } catch (error) {
    if (!(error instanceof FieldError || error instanceof SyntaxError)) throw error;
    throw new TorusError(
      "corrupt",
      `metadata key ${key} is damaged: ${error.message}`,
      { key },
      { cause: error },
    );
  }
}

function codec<Value extends object>(
  field: Field<Value>,
  fieldsOf: (value: Value) => object,
  formats: Formats = unchanged,
): RecordCodec<Value> {
  return {
    encode(value) {
      try {
        return JSON.stringify({ format: formats.current, ...field(fieldsOf(value), "record") });
      } catch (error) {
        if (!(error instanceof FieldError)) throw error;
        throw new TorusError("invalid-argument", `cannot store this: ${error.message}`, {}, { cause: error });
      }
    },
    decode: (key, encoded) => parse(field, formats, key, encoded),
  };
}

export function record<Value extends object>(shape: Shape<Value>, formats?: Formats): RecordCodec<Value> {
  return codec(object(shape), (value) => pick(shape, value), formats);
}

export const clusterCodec = record<ClusterRecord>({
  clusterId: text(64, /^[0-9A-Za-z-]+$/),
  blockBytes: powerOfTwo(integer(blockBytesMin, blockBytesMax)),
  createdMs: milliseconds,
});

function powerOfTwo(field: Field<number>): Field<number> {
  return (value, path) => {
    const number = field(value, path);
    if (2 ** Math.round(Math.log2(number)) !== number)
      throw new FieldError(`${path} must be a power of two, not ${number}`);
    return number;
  };
}

export const minterCodec = record<MinterRecord>({ lastVolumeId: integer(0, volumeIdMax) });
export const ringPointerCodec = record<RingPointerRecord>({ version: ringVersion });
export const nameCodec = record<NameRecord>({ id: volumeId, token });

export const ringCodec: RecordCodec<RingDescription> = codec(ringDescription, (value) => value);

/** HOST:PORT, [IPv6]:PORT or unix:PATH. */
const address: Field<string> = (value, path) => {
  const written = text(300)(value, path);
  try {
    parseAddress(written);
  } catch (error) {
    throw new FieldError(`${path}: ${messageOf(error)}`);
  }
  return written;
};

export const peerCodec = record<PeerRecord>({
  peer: peerId,
  address,
  sizeBytes: integer(1),
  labels: labels(labelsMax, labelCharsMax),
  protocolVersion: integer(0, 2 ** 31),
});

const upkeepReport = object<UpkeepReport>({
  state: oneOf(["starting", "idle", "moving", "waiting", "paused"]),
  ringVersion: integer(0, ringVersionMax),
  revision: integer(0),
  walks: integer(0),
  walkedPercent: integer(0, 100),
  misplacedBlocks: integer(0),
  misplacedBytes: integer(0),
  keptBlocks: integer(0),
  movedBytes: integer(0),
  remainingMs: nullable(milliseconds),
});

const collectedRecord = object<CollectedRecord>({
  revision: integer(0),
  neededBytes: integer(0),
  reclaimableBytes: integer(0),
  buriedHere: list(volumeId, collectedVolumesMax),
});

const share: Field<number> = (value, path) => {
  const number = notNegative(value, path);
  if (number > 1) throw new FieldError(`${path} must be from 0 to 1, not ${number}`);
  return number;
};

const scrubReport = object<ScrubReport>({
  done: share,
  found: integer(0),
  repaired: integer(0),
  unrepairable: integer(0),
});

/** Format 2 says what upkeep does. */
export const peerAliveCodec = record<PeerAliveRecord>(
  {
    incarnation: integer(0),
    usedBytes: integer(0),
    blocks: integer(0),
    updatedMs: milliseconds,
    condition: text(messageCharsMax),
    upkeep: nullable(upkeepReport),
    collected: nullable(collectedRecord),
    scrub: nullable(scrubReport),
  },
  { current: 2, upgrade: { 1: (fields) => ({ ...fields, upkeep: null, collected: null, scrub: null }) } },
);

export const removedPeerCodec = record<RemovedPeerRecord>({
  ringVersion,
  weight: positive,
  removedMs: milliseconds,
});

export const upkeepCodec = record<UpkeepRecord>({ paused: flag });

/** Of a volume or a snapshot. */
const name = text(volumeNameCharsMax, /^[0-9A-Za-z_][0-9A-Za-z._-]*$/);
/** Files may be in a set. */
const volumeName = text(
  volumeNameCharsMax,
  /^[0-9A-Za-z_][0-9A-Za-z._-]*(?:\/[0-9A-Za-z_][0-9A-Za-z._-]*)?$/,
);
const volumeSize = multipleOf(pageBytes, integer(pageBytes, volumeBytesMax));

export const writerCodec = record<WriterRecord>({ epoch, owner: token });
export const leaseCodec = record<LeaseRecord>({ owner: token, epoch, holder: text(messageCharsMax) });

/** Format 2 says its time, format 3 the device that goes on with it. */
export const headCodec = record<HeadRecord>(
  {
    epoch,
    root: nullable(nodePointer),
    ringVersion,
    replayFrom: integer(1),
    sequence: integer(0),
    previous: checksum,
    positionIndex: integer(0),
    positionOffset: integer(0, blockBytesMax),
    usedBytes: integer(0),
    logBytes: integer(0),
    ended: flag,
    timeMs: milliseconds,
    device: nullable(text(deviceTokenCharsMax)),
  },
  {
    current: 3,
    upgrade: {
      1: (fields) => ({ ...fields, timeMs: 0 }),
      2: (fields) => ({ ...fields, device: null }),
    },
  },
);

export const logMapCodec = record<LogMapRecord>({
  epoch,
  rows: list(logRow, logRowsMax),
  struck: list(strike, strikesMax),
});

export const statusCodec = record<StatusRecord>({
  condition: text(messageCharsMax),
  updatedMs: milliseconds,
});

export const adoptionCodec = record<AdoptionRecord>({
  generation: integer(1),
  adoptedMs: milliseconds,
  identity: text(128),
});

export const behindCodec = record<BehindRecord>({
  reason: text(messageCharsMax),
  noticedBy: text(128),
  noticedMs: milliseconds,
});

export const adoptedCodec = record<AdoptedRecord>({
  generation: integer(1),
  epoch: integer(1),
  without: list(peerId, peersMax),
});

export const clientsCodec = record<ClientsRecord>({
  epoch,
  holder: text(messageCharsMax),
  boot: nullable(object<Boot>({ machine: text(messageCharsMax), id: text(messageCharsMax) })),
});

export const cutCodec = record<CutRecord>({
  epoch,
  atMs: milliseconds,
  previousHolder: text(messageCharsMax),
});

export const tombstoneCodec = record<TombstoneRecord>({
  id: volumeId,
  name: text(volumeNameCharsMax),
  epoch,
  token,
  deletedMs: milliseconds,
});

/** For the codecs in other files. */
export const recordFields = {
  checksum,
  offsetInBlock: integer(0, blockBytesMax),
  labels: labels(labelsMax, labelCharsMax),
  milliseconds,
  name,
  nodePointer,
  replicas,
  ringVersion,
  share,
  token,
  volumeId,
  volumeName,
  volumeSize,
} as const;
