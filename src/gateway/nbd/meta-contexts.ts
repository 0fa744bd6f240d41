// Metadata contexts: what a client may ask of ranges by BLOCK_STATUS, by names that it chooses in the handshake.
//
//   base:allocation            is there content, or a hole (the protocol's own)

import type { BlockDevice, Extent } from "#volume";

export interface MetaContext {
  readonly id: number;
  readonly name: string;
}

const allocationName = "base:allocation";

/** Names of every context of an export. */
export function contextNames(): readonly string[] {
  return [allocationName];
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
  _context: MetaContext,
  device: BlockDevice,
  { offset, length, countMax }: StatusRange,
): Promise<readonly Extent[]> {
  return device.extents(offset, length, countMax);
}

const stateHole = 1 << 0;
const stateZero = 1 << 1;

/** The protocol's flags of marked extents and of the others. */
export function statusFlags(_context: MetaContext): { readonly marked: number; readonly others: number } {
  return { marked: 0, others: stateHole | stateZero };
}
