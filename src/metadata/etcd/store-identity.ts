// Whether the store that answers is the one that answered before. Answers to linearizable reads and transactions never
// go back in revision: one that does comes from an etcd that was restored from a backup or lost its data, and what this process
// decided from is not true any more. From then on every call fails, until the program is started again [C7].
//
// The cluster id tells clusters apart (a restore makes a new one), but an etcd whose data directory was emptied has the
// old id: so both are looked at, and on every new connection before anything else is sent.

import { TorusError } from "#model";
import type { Header } from "./response-codec.ts";

export class StoreIdentity {
  readonly #url: string;
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

  /** Take it before a call is sent: an answer to it must be at or after this revision. */
  get revision(): number {
    return this.#revision;
  }

  /** Of the first answer on a connection, besides `check`. A text when it is another cluster's. */
  introduce({ clusterId }: Header): string | null {
    this.#clusterId ??= clusterId;
    if (clusterId === this.#clusterId) return null;
    return `it belongs to etcd cluster ${clusterId.toString(16)}, not ${this.#clusterId.toString(16)}: correct the metadata URL; if etcd was restored from a backup, stop every Torus program and see docs/operate/etcd.md`;
  }

  /** Throws `corrupt` when `header`, of a linearizable answer, is older than `since`. */
  check(header: Header, since: number, endpoint: string): void {
    if (header.revision < since) {
      this.#failure ??= new TorusError(
        "corrupt",
        `the metadata service ${this.#url} went back in time: ${endpoint} is at revision ${header.revision}, it was at ${since} before. Was etcd restored or emptied? Stop every Torus program and see docs/operate/etcd.md`,
      );
    }
    if (this.#failure !== null) throw this.#failure;
    this.#revision = Math.max(this.#revision, header.revision);
  }
}
