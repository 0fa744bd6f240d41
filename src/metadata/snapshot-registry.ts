// Snapshots in the metadata service: kept INodes by name. Only a volume's writer adds one, in the transaction that commits the very
// same INode as head [C6, C23]; whoever wants one puts a request that the writer watches (docs/design.md §7). Anybody may
// delete one.

import type { VolumeId } from "#model";
import { TorusError } from "#model";
import { behindGuard, behindRange, requireNotBehind } from "./behind-guard.ts";
import { noSnapshot } from "./clone-registry.ts";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import {
  requestKey,
  requestsPrefix,
  requireName,
  snapshotKey,
  snapshotsPrefix,
  volumeKey,
  volumePrefix,
} from "./keys.ts";
import type { CutRecord, SnapshotRecord, VolumeRequestRecord, VolumeState } from "./records.ts";
import { cutCodec, messageCharsMax } from "./records-codec.ts";
import type { Watch, WatchListener } from "./service.ts";
import { snapshotCodec, volumeRequestCodec } from "./snapshot-codec.ts";
import { VolumeEntries } from "./volume-entries.ts";
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

export interface PendingRequest {
  readonly token: string;
  readonly revision: number;
  readonly request: VolumeRequestRecord;
}

/** A volume with what is asked of its writer, at one revision. */
export interface VolumeRequests {
  readonly revision: number;
  readonly volume: VolumeState;
  /** By token. */
  readonly requests: readonly PendingRequest[];
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

  /**
   * Asks the writer of `volume`; false when there is none. `token`: fresh and random. Guarded by the lease, which a deletion takes first: no request is
   * left behind where a volume was.
   */
  async ask(volume: VolumeId, token: string, request: VolumeRequestRecord): Promise<boolean> {
    const key = requestKey(volume, token);
    const value = volumeRequestCodec.encode(request);
    const leaseKey = volumeKey(volume, "lease");
    return commitChange<boolean>("ask the volume's writer", this.#deps, async () => {
      const { ranges } = await this.#deps.service.read([{ key }, { key: leaseKey }]);
      if (ranges[0].length > 0) return { done: true };
      const lease = ranges[1].at(0);
      if (lease === undefined) return { done: false };
      return {
        guards: [
          { key, revision: 0 },
          { key: leaseKey, revision: lease.modRevision },
        ],
        changes: [{ kind: "put", key, value }],
        result: () => true,
      };
    });
  }

  /** `not-found` when the volume is gone. */
  async requests(volume: VolumeId): Promise<VolumeRequests> {
    const { revision, ranges } = await this.#deps.service.read([{ prefix: volumePrefix(volume) }]);
    if (ranges[0].length === 0) throw new TorusError("not-found", `there is no volume with id ${volume}`);
    const entries = new VolumeEntries(volume, ranges[0]);
    const requests = entries.requests().map(({ key, value, modRevision }) => ({
      token: key.slice(requestsPrefix(volume).length),
      revision: modRevision,
      request: volumeRequestCodec.decode(key, value),
    }));
    return { revision, volume: entries.state(), requests };
  }

  /** The writer's no. No effect when the request was withdrawn or answered. */
  async refuse(volume: VolumeId, pending: PendingRequest, error: TorusError): Promise<void> {
    const message = error.message.slice(0, messageCharsMax).toWellFormed();
    const refusal = { code: error.code, message };
    const value = volumeRequestCodec.encode({ ...pending.request, refusal });
    const key = requestKey(volume, pending.token);
    await this.#changeRequest(key, pending.revision, { kind: "put", key, value });
  }

  /** Takes a request away, whether it was answered or not. No effect when it is gone. */
  async withdraw(volume: VolumeId, token: string): Promise<void> {
    const key = requestKey(volume, token);
    const entry = (await this.#deps.service.read([{ key }])).ranges[0].at(0);
    if (entry === undefined) return;
    await this.#changeRequest(key, null, { kind: "delete", key });
  }

  /** `revision`: only while it is this one; null: whichever. */
  #changeRequest(
    key: string,
    revision: number | null,
    change: { kind: "put"; key: string; value: string } | { kind: "delete"; key: string },
  ): Promise<void> {
    return commitChange<void>("change a request to a volume's writer", this.#deps, async () => {
      const entry = (await this.#deps.service.read([{ key }])).ranges[0].at(0);
      if (entry === undefined || (revision !== null && entry.modRevision !== revision))
        return { done: undefined };
      return {
        guards: [{ key, revision: entry.modRevision }],
        changes: [change],
        result: () => undefined,
      };
    });
  }

  /** Everything that changes about the volume, its requests too. */
  watch(volume: VolumeId, fromRevision: number, listener: WatchListener): Watch {
    return this.#deps.service.watch(volumePrefix(volume), fromRevision, listener);
  }

  /** What is asked of the writer, and which snapshots there are. */
  watchRequests(volume: VolumeId, fromRevision: number, listener: WatchListener): Watch {
    const prefixes = [requestsPrefix(volume), snapshotsPrefix(volume)];
    const watches = prefixes.map((prefix) => this.#deps.service.watch(prefix, fromRevision, listener));
    return {
      close: () => {
        for (const watch of watches) watch.close();
      },
    };
  }

  /** The snapshot of that name (and of longer ones that begin with it). */
  watchSnapshot(volume: VolumeId, name: string, fromRevision: number, listener: WatchListener): Watch {
    return this.#deps.service.watch(snapshotKey(volume, name), fromRevision, listener);
  }

  /** What goes with a head to name it: the snapshot comes and the request goes, if both are as they were. */
  naming(volume: VolumeId, snapshot: SnapshotRecord, pending: PendingRequest | null): HeadCompany {
    const key = snapshotKey(volume, snapshot.name);
    const guards = [{ key, revision: 0 }];
    const put = { kind: "put", key, value: snapshotCodec.encode(snapshot) } as const;
    if (pending === null) return { guards, changes: [put] };
    const asked = requestKey(volume, pending.token);
    return {
      guards: [...guards, { key: asked, revision: pending.revision }],
      changes: [put, { kind: "delete", key: asked }],
    };
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
