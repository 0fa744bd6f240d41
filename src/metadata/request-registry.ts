// What is asked of a volume's writer: whoever wants what only the writer can do (a snapshot, another size) puts a request that the
// writer watches (docs/design.md §7). The writer takes the request away in the transaction that does it, or refuses it in the request
// itself.

import type { VolumeId } from "#model";
import { TorusError } from "#model";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import { requestKey, requestsPrefix, snapshotsPrefix, volumeKey, volumePrefix } from "./keys.ts";
import type { VolumeRequestRecord, VolumeState } from "./records.ts";
import { messageCharsMax } from "./records-codec.ts";
import type { Watch, WatchListener } from "./service.ts";
import { volumeRequestCodec } from "./snapshot-codec.ts";
import { VolumeEntries } from "./volume-entries.ts";
import type { HeadCompany } from "./volume-writers.ts";
import { joined } from "./volume-writers.ts";

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

export class RequestRegistry {
  readonly #deps: ChangeDeps;

  constructor(deps: ChangeDeps) {
    this.#deps = deps;
  }

  /**
   * Asks the writer of `volume`; false when there is none. `token`: fresh and random. Guarded by the lease, which a deletion takes first: no request is
   * left behind where a volume was.
   */
  ask(volume: VolumeId, token: string, request: VolumeRequestRecord): Promise<boolean> {
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

  /** What is asked of the writer, which snapshots and what history there are, and the spec. */
  watchRequests(volume: VolumeId, fromRevision: number, listener: WatchListener): Watch {
    const parts = [volumeKey(volume, "history"), volumeKey(volume, "spec")];
    const prefixes = [requestsPrefix(volume), snapshotsPrefix(volume), ...parts];
    const watches = prefixes.map((prefix) => this.#deps.service.watch(prefix, fromRevision, listener));
    return {
      close: () => {
        for (const watch of watches) watch.close();
      },
    };
  }
}

/** `company`, and the request that it answers goes, if it is as it was. */
export function answering(
  volume: VolumeId,
  pending: PendingRequest | null,
  company: HeadCompany,
): HeadCompany {
  if (pending === null) return company;
  const key = requestKey(volume, pending.token);
  return joined(company, {
    guards: [{ key, revision: pending.revision }],
    changes: [{ kind: "delete", key }],
  });
}
