// Tombstones that may go: a deleted volume is forgotten once every peer there is has said, in a pass of its collector that saw the
// tombstone, that it has none of its blocks.

import type { ChangeDeps } from "./guarded-change.ts";
import { tombstonesPrefix } from "./keys.ts";
import type { PeerStatus } from "./peer-registry.ts";
import { PeerRegistry } from "./peer-registry.ts";
import type { TombstoneRecord } from "./records.ts";
import { tombstoneCodec } from "./records-codec.ts";
import type { KeyValue } from "./service.ts";

/**
 * The tombstones that no peer has blocks of. What a peer reported of a tombstone stays true, so it does not matter that peers are
 * read after them; a peer that is down, or has not reported since it started, keeps every tombstone.
 */
export async function clearedTombstones(deps: ChangeDeps): Promise<readonly TombstoneRecord[]> {
  const { ranges } = await deps.service.read([{ prefix: tombstonesPrefix }]);
  if (ranges[0].length === 0) return [];
  const { peers } = await new PeerRegistry(deps).list();
  return ranges[0].filter((entry) => isCleared(entry, peers)).map(decode);
}

function isCleared(entry: KeyValue, peers: readonly PeerStatus[]): boolean {
  const { id } = decode(entry);
  return peers.every(({ alive }) => {
    const collected = alive?.collected ?? null;
    return (
      collected !== null && collected.revision >= entry.createRevision && !collected.buriedHere.includes(id)
    );
  });
}

function decode(entry: KeyValue): TombstoneRecord {
  return tombstoneCodec.decode(entry.key, entry.value);
}
