// NearClient: a PeerClient that reads the peer's file itself where it can (NearFile). It learns what it may read so from what the peer read for it.

import type { OpenForeignFile } from "#host";
import type { BlockRef, NearReads, TakeMemory } from "#model";
import type { PeerClientDeps } from "./client.ts";
import { PeerClient } from "./client.ts";
import type { PeerClientOptions } from "./client-settings.ts";
import { NearFile } from "./near-file.ts";

/** What it takes to read the files of peers on this machine. */
export interface NearDeps {
  readonly bootId: string;
  readonly openFile: OpenForeignFile;
}

export class NearClient extends PeerClient {
  readonly #file: NearFile;

  constructor(options: PeerClientOptions, deps: PeerClientDeps & { readonly nearBy: NearDeps }) {
    super(options, deps);
    this.#file = new NearFile({
      ...deps.nearBy,
      locate: (ref) => this.locate(ref),
      clock: deps.clock,
      reads: deps.metrics.counter(
        "torus_peer_client_near_reads_total",
        "Reads from the files of peers on this machine",
      ),
    });
    this.onDisconnect(() => this.#file.forget());
  }

  get near(): NearReads | null | undefined {
    if (this.#file.isFar) return undefined;
    return this.#file.isOpen ? this.#file : null;
  }

  override async read(ref: BlockRef, offset: number, length: number, take?: TakeMemory): Promise<Uint8Array> {
    const bytes = await super.read(ref, offset, length, take);
    this.#file.learn(ref, offset, length);
    return bytes;
  }

  override async close(): Promise<void> {
    await super.close();
    this.#file.forget();
  }
}
