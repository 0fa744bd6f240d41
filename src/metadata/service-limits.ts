// What every metadata service accepts, checked the same way by all of them before anything is sent.

import { metadataKeyCharsMax, metadataValueBytesMax, TorusError } from "#model";
import type { Change, Guard, Range } from "./service.ts";

export const transactionChangesMax = 1024;
/** What etcd takes by default, with `transactionChangesMax` changes (etcd/transaction-layout.ts). */
export const transactionGuardsMax = 100;
export const readRangesMax = 128;
export const leaseTtlMsMin = 10;
export const leaseTtlMsMax = 24 * 3600 * 1000;

const encoder = new TextEncoder();

/** Printable ASCII: in it text order, byte order and code unit order are one, in every implementation. */
function requireKeyText(key: string, what: string): void {
  if (key.length > metadataKeyCharsMax || /[^\x21-\x7e]/.test(key)) {
    throw new TorusError(
      "invalid-argument",
      `metadata ${what} ${JSON.stringify(key.slice(0, 80))} must be at most ${metadataKeyCharsMax} printable ASCII characters without spaces`,
    );
  }
}

function requireKey(key: string): void {
  if (key.length === 0) throw new TorusError("invalid-argument", "a metadata key must not be empty");
  requireKeyText(key, "key");
}

function requireValue(key: string, value: string): void {
  const bytes = value.length > metadataValueBytesMax ? value.length : encoder.encode(value).length;
  if (bytes > metadataValueBytesMax) {
    throw new TorusError(
      "invalid-argument",
      `the value of metadata key ${key} has ${bytes} bytes; the limit is ${metadataValueBytesMax}`,
    );
  }
  if (!value.isWellFormed() || value.includes("\0")) {
    throw new TorusError("invalid-argument", `the value of metadata key ${key} is not plain Unicode text`);
  }
}

function requireCount(count: number, limit: number, what: string): void {
  if (count > limit)
    throw new TorusError("invalid-argument", `${count} ${what} in one request; the limit is ${limit}`);
}

export function requireRanges(ranges: readonly Range[]): void {
  requireCount(ranges.length, readRangesMax, "ranges");
  for (const range of ranges) {
    if ("key" in range) requireKey(range.key);
    else requireKeyText(range.prefix, "prefix");
  }
}

export function requirePrefix(prefix: string): void {
  requireKeyText(prefix, "prefix");
}

/** Also: one transaction changes a key at most once, as in etcd. */
export function requireTransaction(guards: readonly Guard[], changes: readonly Change[]): void {
  requireCount(guards.length, transactionGuardsMax, "guards");
  requireCount(changes.length, transactionChangesMax, "changes");
  for (const guard of guards) {
    requireKey(guard.key);
    if (!Number.isSafeInteger(guard.revision) || guard.revision < 0) {
      throw new TorusError("invalid-argument", `a guard on ${guard.key} has revision ${guard.revision}`);
    }
  }
  const keys = new Set<string>();
  for (const change of changes) {
    requireKey(change.key);
    if (keys.has(change.key)) {
      throw new TorusError("invalid-argument", `one transaction changes metadata key ${change.key} twice`);
    }
    keys.add(change.key);
    if (change.kind === "put") {
      requireValue(change.key, change.value);
      if (change.lease !== undefined && change.lease !== 0) requireLease(change.lease);
    }
  }
}

export function requireLease(lease: number): void {
  if (!Number.isSafeInteger(lease) || lease < 1) {
    throw new TorusError("invalid-argument", `${lease} is not a lease`);
  }
}

export function requireLeaseTtl(ttlMs: number): void {
  if (!(ttlMs >= leaseTtlMsMin && ttlMs <= leaseTtlMsMax)) {
    throw new TorusError(
      "invalid-argument",
      `a lease of ${ttlMs} ms is not possible: use ${leaseTtlMsMin} to ${leaseTtlMsMax} ms`,
    );
  }
}

export function leaseGone(lease: number): TorusError {
  return new TorusError("not-found", `lease ${lease} has expired or was revoked`, { lease });
}

export function serviceClosed(url: string): TorusError {
  return new TorusError("closed", `the metadata service ${url} was closed`);
}
