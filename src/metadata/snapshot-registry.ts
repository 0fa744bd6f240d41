// Snapshots in the metadata service: kept INodes by name. Only a volume's writer adds one, in the transaction that commits the very
// same INode as head [C6, C23]; whoever wants one asks the writer (request-registry.ts). Anybody may delete one.

import type { VolumeId } from "#model";
import { behindGuard, behindRange, requireNotBehind } from "./behind-guard.ts";
import { noSnapshot } from "./clone-registry.ts";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import { requireName, snapshotKey, volumeKey } from "./keys.ts";
import type { CutRecord, SnapshotRecord, VolumeState } from "./records.ts";
import { cutCodec } from "./records-codec.ts";
import type { PendingRequest } from "./request-registry.ts";
import { answering } from "./request-registry.ts";
import type { Watch, WatchListener } from "./service.ts";
import { snapshotCodec } from "./snapshot-codec.ts";
import type { VolumeRegistry } from "./volume-registry.ts";
import type { HeadCompany } from "./volume-writers.ts";

/** Every reader of a volume's state reads all of them. */
export const snapshotsMax = 256;

export interface FoundSnapshot {
  readonly volume: VolumeState;
  readonly snapshot: SnapshotRecord;
  /** modRevision of its key, for guards. */
  readonly revision: number;
}

export class SnapshotRegistry {
  readonly #deps: ChangeDeps & { readonly volumes: VolumeRegistry };

  constructor(deps: ChangeDeps & { readonly volumes: VolumeRegistry }) {
    this.#deps = deps;
  }

  /** `not-found`, saying which of the two is missing. */
  async find(volume: string, snapshot: string): Promise<FoundSnapshot> {
    requireName(snapshot, "snapshot");
    const entries = await this.#deps.volumes.findEntries(volume);
    const state = entries.state();
    const found = state.snapshots.find(({ name }) => name === snapshot);
    if (found === undefined) throw noSnapshot(volume, snapshot);
    const revision = entries.revisionOfKey(snapshotKey(state.spec.id, snapshot));
    return { volume: state, snapshot: found, revision };
  }

  /** Its blocks are collected once no other INode needs them. `not-found` when there is none of that name. */
  async delete(volume: string, snapshot: string): Promise<SnapshotRecord> {
    const found = await this.find(volume, snapshot);
    const key = snapshotKey(found.volume.spec.id, snapshot);
    return commitChange<SnapshotRecord>(
      `delete snapshot ${volume}@${snapshot}`,
      this.#deps,
      async (uncertain) => {
        const { ranges } = await this.#deps.service.read([{ key }, behindRange]);
        requireNotBehind(ranges[1]);
        const entry = ranges[0].at(0);
        // Another of the same name may be there by now: it is not the one that was to go.
        if (entry?.modRevision !== found.revision) {
          if (uncertain) return { done: found.snapshot };
          throw noSnapshot(volume, snapshot);
        }
        return {
          guards: [{ key, revision: found.revision }, behindGuard],
          changes: [{ kind: "delete", key }],
          result: () => found.snapshot,
        };
      },
    );
  }

  /** The snapshot of that name (and of longer ones that begin with it). */
  watchSnapshot(volume: VolumeId, name: string, fromRevision: number, listener: WatchListener): Watch {
    return this.#deps.service.watch(snapshotKey(volume, name), fromRevision, listener);
  }

  /**
   * What goes with a head to name an INode: the snapshot comes and the request goes, if both are as they were. It is the head's own INode, or one of what
   * is kept by the volume's history as of revision `historyRevision` of its key.
   */
  naming(
    volume: VolumeId,
    snapshot: SnapshotRecord,
    pending: PendingRequest | null,
    historyRevision: number | null = null,
  ): HeadCompany {
    const key = snapshotKey(volume, snapshot.name);
    const put = { kind: "put", key, value: snapshotCodec.encode(snapshot) } as const;
    const guards = [{ key, revision: 0 }];
    if (historyRevision !== null)
      guards.push({ key: volumeKey(volume, "history"), revision: historyRevision });
    return answering(volume, pending, { guards, changes: [put] });
  }

  /**
   * What goes with a head that is a snapshot's INode: the snapshot must still be there. `cut`: clients who may come back must not go on with what they
   * have in memory.
   */
  restoring({ volume, snapshot, revision }: FoundSnapshot, cut: CutRecord | null): HeadCompany {
    const { id } = volume.spec;
    const guards = [{ key: snapshotKey(id, snapshot.name), revision }];
    if (cut === null) return { guards, changes: [] };
    return { guards, changes: [{ kind: "put", key: volumeKey(id, "cut"), value: cutCodec.encode(cut) }] };
  }
}
