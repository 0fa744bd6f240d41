// Frames of the peer protocol: what they are called, how large they may be, and their header. After the handshake
// both ways carry only frames. docs/formats/peer-protocol.md is the page for people. Little-endian:
//
//   0   u32  CRC-32 of bytes 4 up to the end of the arguments. Not of the bulk: records and pages have their own sums
//   4   u32  bytes that follow this header: arguments and bulk
//   8   u8   operation
//   9   u8   status: 0 in requests; in answers 0 or the number of an error code
//   10  u16  zero
//   12  u32  request id, chosen by the client, repeated in the answer
//   16  u32  bytes of arguments
//   20       arguments, then bulk: the bytes of records, blocks or reads, unchanged
//
// An answer repeats the operation. Answers come in any order.

import {
  blockBytesMax,
  blockRefBytes,
  bootIdCharsMax,
  crc32,
  fenceReportBlocksMax,
  locationEntryBytes,
  locationPathBytesMax,
  TorusError,
} from "#model";

export const frameHeaderBytes = 20;

/** The numbers on the wire; never reused. */
export const operations = {
  append: 1,
  sync: 2,
  read: 3,
  seal: 4,
  put: 5,
  stat: 6,
  list: 7,
  fence: 8,
  usage: 9,
  ping: 10,
  /** From protocol version 2 on. */
  confirm: 11,
  /** From protocol version 2 on. */
  testify: 12,
  /** From protocol version 4 on. */
  locate: 13,
} as const;

export type OperationName = keyof typeof operations;
export type Operation = (typeof operations)[OperationName];

export const statusOk = 0;

/** Refs in one `sync` or `stat`. */
export const refsMax = 16_384;
/** Refs in one `confirm`: each may cost the reading of a whole block. */
export const confirmRefsMax = 1024;
/** Blocks in one page of `list`; a store asked for more gives this many. */
export const listBlocksMax = 4096;
/** Arguments of an error answer: code, message, details. */
export const errorBytesMax = 8192;
/** Volumes in one page of `testify`; a store asked for more gives this many. */
export const tracesMax = 4096;
export const testimonyHeadBytes = 56;
export const traceBytes = 24;
/** Cluster id, identity of the metadata and reason together. */
export const testimonyTextBytesMax = 4096;

/** What a fence was decided by: numbers, and cluster id and identity of the metadata together. */
export const basisHeadBytes = 44;
export const basisTextBytesMax = 512;

export const progressBytes = 8;
export const statusBytes = 40;
export const confirmationBytes = 12;
/** Of a location, before its texts. */
export const locationHeadBytes = 24 + locationEntryBytes;

/** The largest arguments and bulk of each operation: what a receiver is ready for before it has seen any of it. */
export interface FrameLimits {
  readonly argumentBytesMax: Readonly<Record<Operation, number>>;
  readonly bulkBytesMax: Readonly<Record<Operation, number>>;
}

// biome-ignore format: a table
export const requestLimits: FrameLimits = {
  argumentBytesMax: {
    [operations.append]: 32, [operations.sync]: 4 + refsMax * blockRefBytes, [operations.read]: 32,
    [operations.seal]: 32, [operations.put]: 32, [operations.stat]: 4 + refsMax * blockRefBytes,
    [operations.list]: 32, [operations.fence]: 32 + basisHeadBytes + basisTextBytesMax, [operations.usage]: 0, [operations.ping]: 0,
    [operations.confirm]: 12 + confirmRefsMax * blockRefBytes,
    [operations.testify]: 12, [operations.locate]: blockRefBytes,
  },
  bulkBytesMax: {
    [operations.append]: blockBytesMax, [operations.sync]: 0, [operations.read]: 0,
    [operations.seal]: 0, [operations.put]: blockBytesMax, [operations.stat]: 0,
    [operations.list]: 0, [operations.fence]: 0, [operations.usage]: 0, [operations.ping]: 0,
    [operations.confirm]: 0,
    [operations.testify]: 0, [operations.locate]: 0,
  },
};

// biome-ignore format: a table
export const answerLimits: FrameLimits = {
  argumentBytesMax: {
    [operations.append]: progressBytes, [operations.sync]: refsMax * progressBytes, [operations.read]: 0,
    [operations.seal]: 0, [operations.put]: 0, [operations.stat]: refsMax * statusBytes,
    [operations.list]: 32 + listBlocksMax * statusBytes, [operations.fence]: 32 + fenceReportBlocksMax * statusBytes,
    [operations.usage]: 32, [operations.ping]: 0, [operations.confirm]: 8 + confirmRefsMax * confirmationBytes,
    [operations.testify]: testimonyHeadBytes + testimonyTextBytesMax + tracesMax * traceBytes,
    [operations.locate]: locationHeadBytes + bootIdCharsMax + locationPathBytesMax,
  },
  bulkBytesMax: {
    [operations.append]: 0, [operations.sync]: 0, [operations.read]: blockBytesMax,
    [operations.seal]: 0, [operations.put]: 0, [operations.stat]: 0,
    [operations.list]: 0, [operations.fence]: 0, [operations.usage]: 0, [operations.ping]: 0,
    [operations.confirm]: 0,
    [operations.testify]: 0, [operations.locate]: 0,
  },
};

/** Memory in which headers and arguments are encoded, used again for each frame. */
export class FrameScratch {
  bytes = new Uint8Array(1024);
  view = new DataView(this.bytes.buffer);

  /** Makes room for `argumentBytes` after a header; what was encoded before is gone. */
  reserve(argumentBytes: number): void {
    const needed = frameHeaderBytes + argumentBytes;
    if (needed <= this.bytes.length) return;
    this.bytes = new Uint8Array(Math.max(needed, 2 * this.bytes.length));
    this.view = new DataView(this.bytes.buffer);
  }
}

/**
 * Completes a frame whose arguments are encoded in `scratch` after the header's place. Returns header and
 * arguments, valid until the scratch is used again; `bulkBytes` of bulk must follow them.
 */
export function encodeFrameHead(
  scratch: FrameScratch,
  operation: Operation,
  status: number,
  id: number,
  argumentBytes: number,
  bulkBytes: number,
): Uint8Array {
  const { bytes, view } = scratch;
  view.setUint32(4, argumentBytes + bulkBytes, true);
  view.setUint32(8, operation | (status << 8), true);
  view.setUint32(12, id, true);
  view.setUint32(16, argumentBytes, true);
  const end = frameHeaderBytes + argumentBytes;
  view.setUint32(0, crc32(bytes.subarray(4, end)), true);
  return bytes.subarray(0, end);
}

/** A header's fields, decoded in place into one object that is used again. */
export class FrameHeader {
  operation: Operation = operations.ping;
  status = 0;
  id = 0;
  argumentBytes = 0;
  bulkBytes = 0;
  /** Header, arguments and bulk. */
  frameBytes = 0;

  /** Reads the header at `at`; throws `protocol` when it cannot be one, or announces more than `limits` allow. */
  decode(view: DataView, at: number, limits: FrameLimits): void {
    const bodyBytes = view.getUint32(at + 4, true);
    this.operation = view.getUint8(at + 8) as Operation;
    this.status = view.getUint8(at + 9);
    this.id = view.getUint32(at + 12, true);
    this.argumentBytes = view.getUint32(at + 16, true);
    this.bulkBytes = bodyBytes - this.argumentBytes;
    this.frameBytes = frameHeaderBytes + bodyBytes;
    const argumentBytesMax =
      this.status === statusOk ? limits.argumentBytesMax[this.operation] : errorBytesMax;
    const bulkBytesMax = this.status === statusOk ? limits.bulkBytesMax[this.operation] : 0;
    // An unknown operation has no limits: no number is at most undefined.
    const known = limits.bulkBytesMax[this.operation] !== undefined && view.getUint16(at + 10, true) === 0;
    if (
      !known ||
      this.bulkBytes < 0 ||
      !(this.argumentBytes <= argumentBytesMax) ||
      !(this.bulkBytes <= bulkBytesMax)
    ) {
      throw new TorusError(
        "protocol",
        `a frame of operation ${this.operation} with ${this.argumentBytes} bytes of arguments and ${this.bulkBytes} of bulk is not one of ours`,
      );
    }
  }
}

/** Throws `protocol` unless the head at `at` of `bytes` matches its checksum. */
export function verifyFrameHead(bytes: Uint8Array, view: DataView, at: number, argumentBytes: number): void {
  const sum = crc32(bytes.subarray(at + 4, at + frameHeaderBytes + argumentBytes));
  if (sum !== view.getUint32(at, true)) {
    throw new TorusError("protocol", "a frame's header and arguments do not match their checksum");
  }
}
