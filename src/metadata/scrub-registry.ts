// What peers are asked to look at: torusctl puts a request for a peer, which reads it now and then, does it once, and answers in it. It stays, with the
// answer, until the next one or until the peer is forgotten.

import type { PeerId } from "#model";
import { TorusError } from "#model";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import { peerRecordKey, scrubKey, scrubsPrefix } from "./keys.ts";
import type { ScrubAnswer, ScrubRequestRecord } from "./scrub-codec.ts";
import { scrubRequestCodec } from "./scrub-codec.ts";
import type { KeyValue } from "./service.ts";

export class ScrubRegistry {
  readonly #deps: ChangeDeps;

  constructor(deps: ChangeDeps) {
    this.#deps = deps;
  }

  /**
   * Asks `peer` to look at all its blocks. One that was asked and has not ended yet goes on: that one is returned. `token`: fresh and random. Guarded by the
   * peer's record, which goes when it is forgotten: no request is left behind.
   */
  ask(peer: PeerId, token: string, askedMs: number): Promise<ScrubRequestRecord> {
    const key = scrubKey(peer);
    const recordKey = peerRecordKey(peer);
    const request: ScrubRequestRecord = { token, askedMs, answer: null };
    const value = scrubRequestCodec.encode(request);
    return commitChange<ScrubRequestRecord>(`ask peer ${peer} to scrub`, this.#deps, async () => {
      const { ranges } = await this.#deps.service.read([{ key }, { key: recordKey }]);
      const record = ranges[1].at(0);
      if (record === undefined) throw new TorusError("not-found", `peer ${peer} never registered`);
      const entry = ranges[0].at(0);
      const known = decode(entry);
      if (known !== null && (known.token === token || known.answer?.ended !== true)) return { done: known };
      return {
        guards: [
          { key, revision: entry?.modRevision ?? 0 },
          { key: recordKey, revision: record.modRevision },
        ],
        changes: [{ kind: "put", key, value }],
        result: () => request,
      };
    });
  }

  /** What `peer` is asked, or was; null: nothing. */
  async of(peer: PeerId): Promise<ScrubRequestRecord | null> {
    return decode((await this.#deps.service.read([{ key: scrubKey(peer) }])).ranges[0].at(0));
  }

  /** Of every peer that was ever asked. */
  async list(): Promise<ReadonlyMap<PeerId, ScrubRequestRecord>> {
    const { ranges } = await this.#deps.service.read([{ prefix: scrubsPrefix }]);
    return new Map(
      ranges[0].map((entry) => [
        entry.key.slice(scrubsPrefix.length),
        scrubRequestCodec.decode(entry.key, entry.value),
      ]),
    );
  }

  /** The peer's answer to the request with `token`. No effect when that is gone, or has its last answer. */
  answer(peer: PeerId, token: string, answer: ScrubAnswer): Promise<void> {
    const key = scrubKey(peer);
    return commitChange<void>(`answer what peer ${peer} was asked`, this.#deps, async () => {
      const entry = (await this.#deps.service.read([{ key }])).ranges[0].at(0);
      const known = decode(entry);
      if (entry === undefined || known === null || known.token !== token || known.answer?.ended === true)
        return { done: undefined };
      const value = scrubRequestCodec.encode({ ...known, answer });
      if (value === entry.value) return { done: undefined };
      return {
        guards: [{ key, revision: entry.modRevision }],
        changes: [{ kind: "put", key, value }],
        result: () => undefined,
      };
    });
  }
}

function decode(entry: KeyValue | undefined): ScrubRequestRecord | null {
  return entry === undefined ? null : scrubRequestCodec.decode(entry.key, entry.value);
}
