// Metadata contexts: what a client may ask of ranges by BLOCK_STATUS, by names that it chooses in the handshake.
//
//   base:allocation            is there content, or a hole (the protocol's own)
//   qemu:dirty-bitmap:NAME     what may have changed since the snapshot NAME of the same volume (qemu's: any client of its bitmaps takes it)

import type { BlockDevice, Extent } from "#volume";

export interface MetaContext {
  readonly id: number;
  readonly name: string;
}

const allocationName = "base:allocation";
const dirtyPrefix = "qemu:dirty-bitmap:";

/** Names of every context of an export with these snapshots. */
export function contextNames(snapshots: readonly string[]): readonly string[] {
  return [allocationName, ...snapshots.map((snapshot) => dirtyPrefix + snapshot)];
}

/** The snapshot since which the context tells what changed; null: it tells what has content. */
function snapshotOf({ name }: MetaContext): string | null {
  return name.startsWith(dirtyPrefix) ? name.slice(dirtyPrefix.length) : null;
}

/** What LIST_META_CONTEXT answers: all when nothing is asked for; a query is a name, or the beginning of names up to a colon. */
export function listContexts(names: readonly string[], queries: readonly string[]): readonly string[] {
  if (queries.length === 0) return names;
  return names.filter((name) =>
    queries.some((query) => query === name || (query.endsWith(":") && name.startsWith(query))),
  );
}

/** What SET_META_CONTEXT selects: by whole names only. */
export function selectContexts(names: readonly string[], queries: readonly string[]): readonly MetaContext[] {
  return names.filter((name) => queries.includes(name)).map((name, index) => ({ id: index + 1, name }));
}

/** A query has to say of which namespace it is. */
export function isQuery(query: string): boolean {
  return query.indexOf(":") > 0;
}

export interface StatusRange {
  readonly offset: number;
  readonly length: number;
  readonly countMax: number;
}

/** The context's extents of a range. */
export function extentsOf(
  context: MetaContext,
  device: BlockDevice,
  { offset, length, countMax }: StatusRange,
): Promise<readonly Extent[]> {
  const snapshot = snapshotOf(context);
  if (snapshot === null) return device.extents(offset, length, countMax);
  return device.changedSince(snapshot, offset, length, countMax);
}

const stateHole = 1 << 0;
const stateZero = 1 << 1;
const stateDirty = 1 << 0;

/** The protocol's flags of marked extents and of the others. */
export function statusFlags(context: MetaContext): { readonly marked: number; readonly others: number } {
  if (snapshotOf(context) === null) return { marked: 0, others: stateHole | stateZero };
  return { marked: stateDirty, others: 0 };
}
