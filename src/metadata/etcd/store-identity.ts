// Whether the store that answers is the one that answered before. Answers to linearizable reads and transactions never
// go back in revision: one that does comes from an etcd that was restored from a backup or lost its data, and what this process
// decided from is not true any more. From then on every call fails, until the service is opened anew [C7].
//
// The cluster id tells clusters apart (a restore makes a new one), but an etcd whose data directory was emptied has the
// old id: so both are looked at, and on every new connection before anything else is sent.

import { metadataBehind, type TorusError } from "#model";
import type { Header } from "./response-codec.ts";

export class StoreIdentity {
  readonly #url: string;
  /** Endpoints that turned out to be of another cluster since one of ours answered. */
  readonly #strangers = new Set<string>();
  #clusterId: bigint | null = null;
  #revision = 0;
  #failure: TorusError | null = null;

  constructor(url: string) {
    this.#url = url;
  }

  /** Why nothing may be asked any more; null while all is well. */
  get failure(): TorusError | null {
    return this.#failure;
  }

  /** For those who remember who it was; "etcd" before anybody answered. */
  get name(): string {
    return this.#clusterId === null ? "etcd" : `etcd ${this.#clusterId.toString(16)}`;
  }

  /** Take it before a call is sent: an answer to it must be at or after this revision. */
  get revision(): number {
    return this.#revision;
  }

  /** Of the first answer on a connection, besides `check`. A text when it is another cluster's. */
  introduce({ clusterId }: Header, endpoint: string): string | null {
    this.#clusterId ??= clusterId;
    if (clusterId === this.#clusterId) {
      this.#strangers.clear();
      return null;
    }
    this.#strangers.add(endpoint);
    return `it belongs to etcd cluster ${clusterId.toString(16)}, not ${this.#clusterId.toString(16)}: correct the metadata URL; if etcd was restored from a backup, see docs/operate/metadata.md`;
  }

  /** A round found none of `endpoints` endpoints: when all of them are another cluster's by now, ours is gone. */
  roundFailed(endpoints: number): void {
    if (this.#strangers.size < endpoints) return;
    this.#failure ??= metadataBehind(
      `every member of ${this.#url} belongs to another etcd cluster than before`,
    );
  }

  /** Throws `metadata-behind` when `header`, of a linearizable answer, is older than `since`. */
  check(header: Header, since: number, endpoint: string): void {
    if (header.revision < since) {
      this.#failure ??= metadataBehind(
        `${endpoint} of ${this.#url} is at revision ${header.revision}, and was at ${since} before: etcd was restored or emptied (docs/operate/metadata.md)`,
      );
    }
    if (this.#failure !== null) throw this.#failure;
    this.#revision = Math.max(this.#revision, header.revision);
  }
}
