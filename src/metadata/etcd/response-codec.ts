// What etcd answers, from bytes. The field numbers are those of etcd's published API (proto/etcd/etcd.proto has the part
// used here). Revisions are etcd's own. Keys and values must be UTF-8: ours are, so what is not was put by another program.

import { messageOf, TorusError } from "#model";
import { FieldReader } from "./protobuf-codec.ts";

export interface Header {
  readonly clusterId: bigint;
  readonly revision: number;
}

export interface Entry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly lease: number;
}

export interface RangeResponse {
  readonly header: Header;
  readonly entries: readonly Entry[];
}

export interface TransactionResponse {
  readonly header: Header;
  readonly succeeded: boolean;
  /** Of the ranges in it, in the order asked. */
  readonly ranges: readonly (readonly Entry[])[];
}

export interface ChangeEvent {
  readonly kind: "put" | "delete";
  /** Of a deletion only key and modRevision count. */
  readonly entry: Entry;
}

export interface WatchResponse {
  readonly header: Header;
  readonly created: boolean;
  readonly canceled: boolean;
  /** Why it was canceled: history up to here is gone; 0 for other reasons. */
  readonly compactRevision: number;
  readonly cancelReason: string;
  /** More of the same revision follows. */
  readonly fragment: boolean;
  readonly events: readonly ChangeEvent[];
}

const noHeader: Header = { clusterId: 0n, revision: 0 };

function decodeHeader(reader: FieldReader): Header {
  let { clusterId, revision } = noHeader;
  while (reader.next()) {
    if (reader.field === 1) clusterId = reader.id();
    else if (reader.field === 3) revision = reader.int();
  }
  return { clusterId, revision };
}

function decodeEntry(reader: FieldReader): Entry {
  const entry = { key: "", value: "", createRevision: 0, modRevision: 0, lease: 0 };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        entry.key = ours("of our prefix", () => reader.text());
        break;
      case 2:
        entry.createRevision = reader.int();
        break;
      case 3:
        entry.modRevision = reader.int();
        break;
      case 5:
        entry.value = ours(entry.key, () => reader.text());
        break;
      case 6:
        entry.lease = ours(entry.key, () => reader.int());
        break;
    }
  }
  return entry;
}

/** Our values are text and our leases fit 53 bits: what is neither was put by another program. */
function ours<Value>(key: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw new TorusError(
      "corrupt",
      `etcd key ${key} was put by another program (${messageOf(error)}): remove it, or give Torus a prefix of its own`,
      { key },
      { cause: error },
    );
  }
}

export function decodeRange(bytes: Uint8Array): RangeResponse {
  return readRange(new FieldReader(bytes));
}

function readRange(reader: FieldReader): RangeResponse {
  let header = noHeader;
  const entries: Entry[] = [];
  while (reader.next()) {
    if (reader.field === 1) header = decodeHeader(reader.message());
    else if (reader.field === 2) entries.push(decodeEntry(reader.message()));
  }
  return { header, entries };
}

export function decodeTransaction(bytes: Uint8Array): TransactionResponse {
  const reader = new FieldReader(bytes);
  let header = noHeader;
  let succeeded = false;
  const ranges: (readonly Entry[])[] = [];
  while (reader.next()) {
    if (reader.field === 1) header = decodeHeader(reader.message());
    else if (reader.field === 2) succeeded = reader.bool();
    else if (reader.field === 3) {
      const operation = reader.message();
      while (operation.next()) if (operation.field === 1) ranges.push(readRange(operation.message()).entries);
    }
  }
  return { header, succeeded, ranges };
}

function decodeEvent(reader: FieldReader): ChangeEvent {
  let kind: "put" | "delete" = "put";
  let entry: Entry = { key: "", value: "", createRevision: 0, modRevision: 0, lease: 0 };
  while (reader.next()) {
    if (reader.field === 1) kind = reader.int() === 0 ? "put" : "delete";
    else if (reader.field === 2) entry = decodeEntry(reader.message());
  }
  return { kind, entry };
}

export function decodeWatch(bytes: Uint8Array): WatchResponse {
  const reader = new FieldReader(bytes);
  let header = noHeader;
  const flags = { created: false, canceled: false, fragment: false };
  let compactRevision = 0;
  let cancelReason = "";
  const events: ChangeEvent[] = [];
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        header = decodeHeader(reader.message());
        break;
      case 3:
        flags.created = reader.bool();
        break;
      case 4:
        flags.canceled = reader.bool();
        break;
      case 5:
        compactRevision = reader.int();
        break;
      case 6:
        cancelReason = reader.text();
        break;
      case 7:
        flags.fragment = reader.bool();
        break;
      case 11:
        events.push(decodeEvent(reader.message()));
        break;
    }
  }
  return { header, ...flags, compactRevision, cancelReason, events };
}

/** Of a grant: what it got, in seconds, at least what was asked for. */
export function decodeLeaseGrant(bytes: Uint8Array): { readonly ttlSeconds: number } {
  return { ttlSeconds: readInt(bytes, 3) };
}

/** Of a renewal: 0 or less when the lease is gone. */
export function decodeLeaseKeepAlive(bytes: Uint8Array): { readonly ttlSeconds: number } {
  return { ttlSeconds: readInt(bytes, 3) };
}

function readInt(bytes: Uint8Array, field: number): number {
  const reader = new FieldReader(bytes);
  let value = 0;
  while (reader.next()) if (reader.field === field) value = reader.int();
  return value;
}

export function decodeAuthenticate(bytes: Uint8Array): { readonly token: string } {
  const reader = new FieldReader(bytes);
  let token = "";
  while (reader.next()) if (reader.field === 2) token = reader.text();
  return { token };
}
