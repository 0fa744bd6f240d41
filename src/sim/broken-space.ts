// Broken collecting, for canaries: what judges blocks dead, with one rule taken out of it.

import type { Clock } from "#host";
import { sleep } from "#host";
import type { ClusterMetadata, ClusterSnapshot, NodePointer, TombstoneRecord } from "#metadata";
import type { VolumeId } from "#model";
import { isTorusError, TorusError } from "#model";
import type { UpkeepDeps } from "#upkeep";
import { NeededBlocks } from "#volume";

const patienceMs = 300;

/** `metadata` with another way to read all of it. */
function withSnapshot(metadata: ClusterMetadata, snapshot: () => Promise<ClusterSnapshot>): ClusterMetadata {
  return new Proxy(metadata, {
    get: (target, key) => {
      if (key === "snapshot") return snapshot;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Everything is judged by the metadata as it was read the time before. */
export function readBeforeList(deps: UpkeepDeps): UpkeepDeps {
  let last: ClusterSnapshot | null = null;
  const snapshot = async (): Promise<ClusterSnapshot> => {
    const now = await deps.metadata.snapshot();
    const shown = last ?? now;
    last = now;
    return shown;
  };
  return { ...deps, metadata: withSnapshot(deps.metadata, snapshot) };
}

/** An INode of which something cannot be read at once counts as one that needs only what was read of it. */
export function partialReadCollects(deps: UpkeepDeps): UpkeepDeps {
  const inner = new NeededBlocks({ cacheBytesMax: 2 ** 20 });
  const { clock } = deps;
  return {
    ...deps,
    needed: {
      walk: async (roots, readNode, note) => {
        for (const root of roots) {
          try {
            const soon = (pointer: NodePointer): Promise<Uint8Array> =>
              Promise.race([readNode(pointer), silence(clock)]);
            await inner.walk([root], soon, note);
          } catch (error) {
            if (!isTorusError(error)) throw error;
          }
        }
      },
    },
  };
}

async function silence(clock: Clock): Promise<never> {
  await sleep(clock, patienceMs);
  throw new TorusError("timeout", "a node of an INode is not here at once");
}

/** Metadata that cannot be read counts as empty, and what is in no list as deleted: the original's way to lose every block [C7]. */
export function unknownIsDead(deps: UpkeepDeps): UpkeepDeps {
  let last: ClusterSnapshot | null = null;
  const snapshot = async (): Promise<ClusterSnapshot> => {
    try {
      last = await deps.metadata.snapshot();
      return last;
    } catch (error) {
      if (last === null || !isTorusError(error, "unavailable", "timeout")) throw error;
      return { ...last, volumes: new Map(), tombstones: new Graveyard() };
    }
  };
  return { ...deps, metadata: withSnapshot(deps.metadata, snapshot) };
}

/** Has a tombstone for every volume there may be. */
class Graveyard extends Map<VolumeId, TombstoneRecord> {
  override has(): boolean {
    return true;
  }

  override get(id: VolumeId): TombstoneRecord {
    return { id, name: `v${id}`, epoch: Number.MAX_SAFE_INTEGER, token: "", deletedMs: 0 };
  }
}
