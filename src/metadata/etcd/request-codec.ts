// What is asked of etcd, as bytes. The field numbers are those of etcd's published API (proto/etcd/etcd.proto has the part
// used here). Revisions are etcd's own.

import { FieldWriter } from "./protobuf-codec.ts";

/** All keys from `key` up to and without `rangeEnd`; only `key` when there is none. Always linearizable: nothing here sets `serializable`. */
export interface RangeRequest {
  readonly key: string;
  readonly rangeEnd?: string;
  /** Only the header and the count. */
  readonly countOnly?: boolean;
}

/** `modRevision` 0: the key is absent. */
export interface Compare {
  readonly key: string;
  readonly modRevision: number;
}

export type Operation =
  | ({ readonly kind: "range" } & RangeRequest)
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly lease: number }
  | { readonly kind: "delete"; readonly key: string }
  /** Done as part of the whole, in the same revision. */
  | { readonly kind: "group"; readonly operations: readonly Operation[] };

export interface TransactionRequest {
  readonly compares: readonly Compare[];
  /** Done, all in one revision, when every compare holds; else nothing is. */
  readonly operations: readonly Operation[];
}

export interface WatchCreateRequest {
  readonly key: string;
  readonly rangeEnd: string;
  /** The first revision of interest. */
  readonly startRevision: number;
}

const compareEqual = 0;
const compareModRevision = 2;

/** Where the keys that start with `prefix` end: `prefix` with its last byte raised, which printable ASCII allows. Not for "". */
export function prefixEnd(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}

export function encodeRange({ key, rangeEnd = "", countOnly = false }: RangeRequest): Uint8Array {
  return new FieldWriter().text(1, key).text(2, rangeEnd).bool(9, countOnly).finish();
}

export function encodeTransaction({ compares, operations }: TransactionRequest): Uint8Array {
  const writer = new FieldWriter();
  for (const compare of compares) writer.message(1, encodeCompare(compare));
  for (const operation of operations) writer.message(2, encodeOperation(operation));
  return writer.finish();
}

function encodeCompare({ key, modRevision }: Compare): Uint8Array {
  return new FieldWriter()
    .int(1, compareEqual)
    .int(2, compareModRevision)
    .text(3, key)
    .presentInt(6, modRevision)
    .finish();
}

function encodeOperation(operation: Operation): Uint8Array {
  const writer = new FieldWriter();
  switch (operation.kind) {
    case "range":
      return writer.message(1, encodeRange(operation)).finish();
    case "put":
      return writer.message(2, encodePut(operation)).finish();
    case "delete":
      return writer.message(3, new FieldWriter().text(1, operation.key).finish()).finish();
    case "group":
      return writer
        .message(4, encodeTransaction({ compares: [], operations: operation.operations }))
        .finish();
  }
}

function encodePut({ key, value, lease }: Operation & { readonly kind: "put" }): Uint8Array {
  return new FieldWriter().text(1, key).text(2, value).int(3, lease).finish();
}

/** Asks for progress notices, which keep an idle watch clear of compaction, and for large answers in parts. */
export function encodeWatchCreate({ key, rangeEnd, startRevision }: WatchCreateRequest): Uint8Array {
  const create = new FieldWriter()
    .text(1, key)
    .text(2, rangeEnd)
    .int(3, startRevision)
    .bool(4, true)
    .bool(8, true)
    .finish();
  return new FieldWriter().message(1, create).finish();
}

/** `lease` is ours to choose: etcd's own ids do not fit a double. */
export function encodeLeaseGrant(ttlSeconds: number, lease: number): Uint8Array {
  return new FieldWriter().int(1, ttlSeconds).int(2, lease).finish();
}

export function encodeLeaseRevoke(lease: number): Uint8Array {
  return new FieldWriter().int(1, lease).finish();
}

export function encodeLeaseKeepAlive(lease: number): Uint8Array {
  return new FieldWriter().int(1, lease).finish();
}

export function encodeAuthenticate(name: string, password: string): Uint8Array {
  return new FieldWriter().text(1, name).text(2, password).finish();
}
