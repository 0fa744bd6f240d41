// For tests: requests and answers of every operation, made from fast-check or fixed, and frames built from them.

import fc from "fast-check";
import type { BlockRef, BlockStatus } from "#model";
import { volumeIdMax } from "#model";
import { protocolVersionMax } from "../greeting.ts";
import type { Answer } from "./answer-codec.ts";
import { encodeAnswer } from "./answer-codec.ts";
import { encodeFrameHead, FrameScratch, operations, statusOk } from "./frame-codec.ts";
import type { Request } from "./request-codec.ts";
import { bulkOf, encodeRequest } from "./request-codec.ts";

export const sampleRef: BlockRef = { type: 1, volume: 0xab_cdef_0123, epoch: 2 ** 40 + 5, index: 7 };

export const sampleStatus: BlockStatus = {
  ref: sampleRef,
  state: "open",
  held: 8192,
  durable: 4096,
  checksum: 0xdeadbeef,
  cut: true,
  damaged: false,
};

const logRef: BlockRef = { type: 0, volume: 5, epoch: 8, index: 4 };

/** One request of each operation, with an answer to it. */
export const sampleExchanges: Readonly<
  Record<string, { readonly request: Request; readonly answer: Answer }>
> = {
  append: {
    request: {
      operation: operations.append,
      ref: sampleRef,
      offset: 4096,
      capacityBytes: 65536,
      purpose: "data",
      bytes: Uint8Array.of(1, 2, 3),
    },
    answer: { held: 12288, durable: 4096 },
  },
  "append from the reserve": {
    request: {
      operation: operations.append,
      ref: logRef,
      offset: 0,
      capacityBytes: 65536,
      purpose: "reserve",
      bytes: Uint8Array.of(4),
    },
    answer: { held: 4096, durable: 0 },
  },
  sync: {
    request: { operation: operations.sync, refs: [sampleRef, logRef] },
    answer: [
      { held: 12288, durable: 12288 },
      { held: 0, durable: 0 },
    ],
  },
  read: {
    request: { operation: operations.read, ref: sampleRef, offset: 4096, length: 4 },
    answer: Uint8Array.of(9, 8, 7, 6),
  },
  seal: {
    request: { operation: operations.seal, ref: sampleRef, length: 8192, checksum: 0xcafebabe },
    answer: undefined,
  },
  put: {
    request: {
      operation: operations.put,
      ref: sampleRef,
      checksum: 0x01020304,
      purpose: "repair",
      bytes: Uint8Array.of(5, 6),
    },
    answer: undefined,
  },
  stat: { request: { operation: operations.stat, refs: [sampleRef] }, answer: [sampleStatus] },
  list: {
    request: { operation: operations.list, after: sampleRef, limit: 2 },
    answer: {
      blocks: [{ ...sampleStatus, state: "sealed", durable: 8192, cut: false, damaged: true }],
      next: sampleRef,
    },
  },
  fence: {
    request: { operation: operations.fence, volume: 5, epoch: 9, logEpoch: 8, fromIndex: 3, basis: null },
    answer: {
      epoch: 9,
      blocks: [{ ...sampleStatus, ref: logRef }],
      durableIndex: 2,
      durableOffset: 12288,
      cutEpoch: 7,
    },
  },
  "fence by metadata": {
    request: {
      operation: operations.fence,
      volume: 5,
      epoch: 9,
      logEpoch: 8,
      fromIndex: 3,
      basis: {
        view: {
          clusterId: "c1",
          identity: "etcd cdf818194e3a8c32",
          generation: 2,
          revision: 2 ** 40,
          ringVersion: 17,
          lastVolumeId: 0xab_cdef_0123,
        },
        headEpoch: 8,
      },
    },
    answer: { epoch: 9, blocks: [], durableIndex: 0, durableOffset: 0, cutEpoch: 0 },
  },
  usage: {
    request: { operation: operations.usage },
    answer: { sizeBytes: 2 ** 44, usedBytes: 2 ** 33, blocks: 1024, availableBytes: 2 ** 43 },
  },
  testify: {
    request: { operation: operations.testify, after: 4, limit: 3 },
    answer: {
      view: {
        clusterId: "c1",
        identity: "etcd cdf818194e3a8c32",
        generation: 2,
        revision: 2 ** 40,
        ringVersion: 17,
        lastVolumeId: 0xab_cdef_0123,
      },
      behind: "it went bäck",
      asOfMs: 1_700_000_000_000,
      volumes: [
        { volume: 5, epoch: 2 ** 33, blocks: 7 },
        { volume: 0xab_cdef_0123, epoch: 1, blocks: 0 },
      ],
      next: 0xab_cdef_0123,
    },
  },
  ping: { request: { operation: operations.ping }, answer: undefined },
  locate: {
    request: { operation: operations.locate, ref: sampleRef },
    answer: {
      bootId: "5d3c1b0e-0001-4a4a-8b8b-c0ffee000001",
      path: "/var/lib/törus/blocks.torus",
      offset: 2 ** 40 + 4096,
      length: 8192,
      entryOffset: 2 ** 40 - 64,
      entry: Uint8Array.from({ length: 64 }, (_, i) => i),
    },
  },
  confirm: {
    request: {
      operation: operations.confirm,
      ringVersion: 2 ** 33 + 1,
      refs: [sampleRef, logRef, sampleRef],
    },
    answer: {
      ringVersion: 2 ** 33 + 1,
      blocks: [
        { verdict: "confirmed", length: 8192, checksum: 0xdeadbeef },
        { verdict: "lacking", length: 0, checksum: 0 },
        { verdict: "later", length: 0, checksum: 0 },
      ],
    },
  },
};

export function requestFrame(request: Request, id: number): Uint8Array {
  const scratch = new FrameScratch();
  const argumentBytes = encodeRequest(scratch, request, protocolVersionMax);
  const bulk = bulkOf(request);
  return Buffer.concat([
    encodeFrameHead(scratch, request.operation, statusOk, id, argumentBytes, bulk.length),
    bulk,
  ]);
}

export function answerFrame(request: Request, answer: Answer, id: number): Uint8Array {
  const scratch = new FrameScratch();
  const argumentBytes = encodeAnswer(scratch, request.operation, answer);
  const bulk = answer instanceof Uint8Array ? answer : new Uint8Array(0);
  return Buffer.concat([
    encodeFrameHead(scratch, request.operation, statusOk, id, argumentBytes, bulk.length),
    bulk,
  ]);
}

const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

export const refs: fc.Arbitrary<BlockRef> = fc.record({
  type: fc.integer({ min: 0, max: 0xffffff }),
  volume: fc.integer({ min: 0, max: volumeIdMax }),
  epoch: safe,
  index: safe,
});

const bulks = fc.uint8Array({ maxLength: 200 });

export const requests: fc.Arbitrary<Request> = fc.oneof(
  fc.record({
    operation: fc.constant(operations.append),
    ref: refs,
    offset: uint32,
    capacityBytes: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    purpose: fc.constantFrom("data" as const, "reserve" as const),
    bytes: bulks,
  }),
  fc.record({ operation: fc.constant(operations.sync), refs: fc.array(refs, { maxLength: 50 }) }),
  fc.record({ operation: fc.constant(operations.read), ref: refs, offset: uint32, length: uint32 }),
  fc.record({ operation: fc.constant(operations.seal), ref: refs, length: uint32, checksum: uint32 }),
  fc.record({
    operation: fc.constant(operations.put),
    ref: refs,
    checksum: uint32,
    purpose: fc.constantFrom("write" as const, "repair" as const),
    bytes: bulks,
  }),
  fc.record({ operation: fc.constant(operations.stat), refs: fc.array(refs, { maxLength: 50 }) }),
  fc.record({ operation: fc.constant(operations.list), after: fc.option(refs), limit: uint32 }),
  fc.record({
    operation: fc.constant(operations.fence),
    volume: fc.integer({ min: 0, max: volumeIdMax }),
    epoch: safe,
    logEpoch: safe,
    fromIndex: safe,
    basis: fc.option(
      fc.record({
        view: fc.record({
          clusterId: fc.string({ maxLength: 40 }),
          identity: fc.string({ unit: "grapheme", maxLength: 40 }),
          generation: safe,
          revision: safe,
          ringVersion: safe,
          lastVolumeId: fc.integer({ min: 0, max: volumeIdMax }),
        }),
        headEpoch: safe,
      }),
    ),
  }),
  fc.record({
    operation: fc.constant(operations.confirm),
    ringVersion: safe,
    refs: fc.array(refs, { maxLength: 50 }),
  }),
  fc.record({
    operation: fc.constant(operations.testify),
    after: fc.integer({ min: 0, max: volumeIdMax }),
    limit: uint32,
  }),
  fc.record({ operation: fc.constant(operations.locate), ref: refs }),
  fc.constant<Request>({ operation: operations.usage }),
  fc.constant<Request>({ operation: operations.ping }),
);
