// Requests: what the client asks, and its arguments as bytes. The bulk (records of an append, bytes of a put) is not
// touched here: it follows the arguments unchanged.
//
//   append  ref, u32 offset, u32 capacity (its highest bit     stat   u32 count, refs
//           set: may use the reserve); bulk: records
//   sync    u32 count, refs                                   list   u32 after is given, u32 limit, ref
//   read    ref, u32 offset, u32 length                       fence  u64 volume, u64 epoch, u64 log epoch, u64 from index,
//                                                                    from version 3 on the basis (basis-codec.ts) unless there is none
//   seal    ref, u32 length, u32 checksum                     usage, ping: nothing
//   put     ref, u32 checksum, u32 purpose (0 write, 1 repair); bulk: the block
//   confirm u64 ring version, u32 count, refs
//   testify u64 after volume, u32 limit                       locate ref

import type { AppendPurpose, BlockRef, Epoch, FenceBasis, VolumeId } from "#model";
import { blockRefBytes, decodeBlockRef, encodeBlockRef, TorusError, volumeIdMax } from "#model";
import { decodeBasis, encodeBasis } from "./basis-codec.ts";
import type { FrameScratch, Operation } from "./frame-codec.ts";
import { confirmRefsMax, frameHeaderBytes, operations, refsMax } from "./frame-codec.ts";
import { readUint64, writeUint64 } from "./uint64.ts";

export interface FenceRequest {
  readonly operation: typeof operations.fence;
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly logEpoch: Epoch;
  readonly fromIndex: number;
  /** Null: of a client before version 3. */
  readonly basis: FenceBasis | null;
}

export type Request =
  | {
      readonly operation: typeof operations.append;
      readonly ref: BlockRef;
      readonly offset: number;
      readonly capacityBytes: number;
      readonly purpose: AppendPurpose;
      readonly bytes: Uint8Array;
    }
  | { readonly operation: typeof operations.sync; readonly refs: readonly BlockRef[] }
  | {
      readonly operation: typeof operations.read;
      readonly ref: BlockRef;
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly operation: typeof operations.seal;
      readonly ref: BlockRef;
      readonly length: number;
      readonly checksum: number;
    }
  | {
      readonly operation: typeof operations.put;
      readonly ref: BlockRef;
      readonly checksum: number;
      readonly purpose: "write" | "repair";
      readonly bytes: Uint8Array;
    }
  | { readonly operation: typeof operations.stat; readonly refs: readonly BlockRef[] }
  | { readonly operation: typeof operations.list; readonly after: BlockRef | null; readonly limit: number }
  | FenceRequest
  | {
      readonly operation: typeof operations.confirm;
      readonly ringVersion: number;
      readonly refs: readonly BlockRef[];
    }
  | { readonly operation: typeof operations.usage }
  | { readonly operation: typeof operations.ping }
  | { readonly operation: typeof operations.locate; readonly ref: BlockRef }
  | { readonly operation: typeof operations.testify; readonly after: VolumeId; readonly limit: number };

const noBytes = new Uint8Array(0);
const zeroRef: BlockRef = { type: 0, volume: 0, epoch: 0, index: 0 };
const fixedBytes = 32;
const testifyBytes = 12;
/** Fences say what they were decided by. */
const basisVersion = 3;
const reserveFlag = 2 ** 31;

/** The bulk that follows the arguments of `request`. */
export function bulkOf(request: Request): Uint8Array {
  return request.operation === operations.append || request.operation === operations.put
    ? request.bytes
    : noBytes;
}

/** Encodes the arguments of `request`, as protocol `version` has them, into `scratch`; returns their length. */
export function encodeRequest(scratch: FrameScratch, request: Request, version: number): number {
  const at = frameHeaderBytes;
  const { view } = scratch;
  switch (request.operation) {
    case operations.append:
      return encodePlace(
        view,
        request.ref,
        request.offset,
        request.capacityBytes + (request.purpose === "reserve" ? reserveFlag : 0),
      );
    case operations.read:
      return encodePlace(view, request.ref, request.offset, request.length);
    case operations.seal:
      return encodePlace(view, request.ref, request.length, request.checksum);
    case operations.put:
      return encodePlace(view, request.ref, request.checksum, request.purpose === "write" ? 0 : 1);
    case operations.sync:
    case operations.stat:
      return encodeRefs(scratch, 0, request.refs);
    case operations.confirm: {
      const argumentBytes = encodeRefs(scratch, 8, request.refs);
      writeUint64(scratch.view, at, request.ringVersion);
      return argumentBytes;
    }
    case operations.list:
      view.setUint32(at, request.after === null ? 0 : 1, true);
      view.setUint32(at + 4, request.limit, true);
      encodeBlockRef(request.after ?? zeroRef, view, at + 8);
      return fixedBytes;
    case operations.fence:
      writeUint64(view, at, request.volume);
      writeUint64(view, at + 8, request.epoch);
      writeUint64(view, at + 16, request.logEpoch);
      writeUint64(view, at + 24, request.fromIndex);
      if (request.basis === null || version < basisVersion) return fixedBytes;
      return fixedBytes + encodeBasis(scratch, fixedBytes, request.basis);
    case operations.testify:
      writeUint64(view, at, request.after);
      view.setUint32(at + 8, request.limit, true);
      return testifyBytes;
    case operations.locate:
      encodeBlockRef(request.ref, view, at);
      return blockRefBytes;
    case operations.usage:
    case operations.ping:
      return 0;
  }
}

function encodePlace(view: DataView, ref: BlockRef, first: number, second: number): number {
  encodeBlockRef(ref, view, frameHeaderBytes);
  view.setUint32(frameHeaderBytes + blockRefBytes, first, true);
  view.setUint32(frameHeaderBytes + blockRefBytes + 4, second, true);
  return fixedBytes;
}

/** Count and refs, after `before` bytes of other arguments. */
function encodeRefs(scratch: FrameScratch, before: number, refs: readonly BlockRef[]): number {
  const argumentBytes = before + 4 + refs.length * blockRefBytes;
  scratch.reserve(argumentBytes);
  const { view } = scratch;
  view.setUint32(frameHeaderBytes + before, refs.length, true);
  let at = frameHeaderBytes + before + 4;
  for (const ref of refs) {
    encodeBlockRef(ref, view, at);
    at += blockRefBytes;
  }
  return argumentBytes;
}

/** The request whose arguments lie at `at` of `view`. Throws `protocol` when they are not as `encodeRequest` makes them. */
export function decodeRequest(
  operation: Operation,
  view: DataView,
  at: number,
  argumentBytes: number,
  bulk: Uint8Array,
): Request {
  if (operation === operations.sync || operation === operations.stat) {
    return { operation, refs: decodeRefs(view, at, argumentBytes, refsMax) };
  }
  if (operation === operations.confirm) {
    const refs = decodeRefs(view, at + 8, argumentBytes - 8, confirmRefsMax);
    return { operation, ringVersion: readUint64(view, at), refs };
  }
  if (operation === operations.fence && argumentBytes >= fixedBytes)
    return decodeFence(view, at, decodeBasis(view, at + fixedBytes, argumentBytes - fixedBytes));
  const expected = expectedBytes(operation);
  if (argumentBytes !== expected) {
    throw new TorusError(
      "protocol",
      `a request of operation ${operation} has ${argumentBytes} bytes of arguments, not ${expected}`,
    );
  }
  switch (operation) {
    case operations.append:
    case operations.read:
    case operations.seal:
    case operations.put:
      return decodePlace(operation, view, at, bulk);
    case operations.list: {
      const after = requireFlag(view.getUint32(at, true)) ? decodeBlockRef(view, at + 8) : null;
      return { operation, after, limit: view.getUint32(at + 4, true) };
    }
    case operations.fence:
      return decodeFence(view, at, null);
    case operations.testify:
      return {
        operation,
        after: requireVolume(readUint64(view, at)),
        limit: view.getUint32(at + 8, true),
      };
    case operations.locate:
      return { operation, ref: decodeBlockRef(view, at) };
    case operations.usage:
    case operations.ping:
      return { operation };
  }
}

function decodeFence(view: DataView, at: number, basis: FenceBasis | null): FenceRequest {
  return {
    operation: operations.fence,
    volume: requireVolume(readUint64(view, at)),
    epoch: readUint64(view, at + 8),
    logEpoch: readUint64(view, at + 16),
    fromIndex: readUint64(view, at + 24),
    basis,
  };
}

/** Of the arguments of operations that have as many in every request. */
function expectedBytes(operation: Operation): number {
  if (operation === operations.usage || operation === operations.ping) return 0;
  if (operation === operations.locate) return blockRefBytes;
  return operation === operations.testify ? testifyBytes : fixedBytes;
}

type PlaceOperation = Exclude<
  Extract<Request, { readonly ref: BlockRef }>["operation"],
  typeof operations.locate
>;

/** The requests about one place: a ref and two numbers. */
function decodePlace(operation: PlaceOperation, view: DataView, at: number, bulk: Uint8Array): Request {
  const ref = decodeBlockRef(view, at);
  const first = view.getUint32(at + blockRefBytes, true);
  const second = view.getUint32(at + blockRefBytes + 4, true);
  switch (operation) {
    case operations.append:
      return {
        operation,
        ref,
        offset: first,
        capacityBytes: second % reserveFlag,
        purpose: second >= reserveFlag ? "reserve" : "data",
        bytes: bulk,
      };
    case operations.read:
      return { operation, ref, offset: first, length: second };
    case operations.seal:
      return { operation, ref, length: first, checksum: second };
    case operations.put:
      return {
        operation,
        ref,
        checksum: first,
        purpose: requireFlag(second) ? "repair" : "write",
        bytes: bulk,
      };
  }
}

function decodeRefs(view: DataView, at: number, argumentBytes: number, countMax: number): BlockRef[] {
  const count = argumentBytes < 4 ? -1 : view.getUint32(at, true);
  if (count < 0 || count > countMax || argumentBytes !== 4 + count * blockRefBytes) {
    throw new TorusError("protocol", "a request does not have as many block references as it names");
  }
  const refs: BlockRef[] = [];
  for (let i = 0; i < count; i++) refs.push(decodeBlockRef(view, at + 4 + i * blockRefBytes));
  return refs;
}

function requireVolume(volume: VolumeId): VolumeId {
  if (volume > volumeIdMax) throw new TorusError("protocol", `a request names volume ${volume}, above 2^40`);
  return volume;
}

function requireFlag(value: number): boolean {
  if (value > 1) throw new TorusError("protocol", `a request has a flag of value ${value}`);
  return value === 1;
}
