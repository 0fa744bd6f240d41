// Peers in the metadata service: a record each registers, and a heartbeat under a lease that says it lives. Which
// peers hold data is the ring's to say, not theirs.

import type { PeerId } from "#model";
import { isTorusError, TorusError } from "#model";
import type { RingDescription } from "#ring";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import {
  parsePeerKey,
  peerAliveKey,
  peerRecordKey,
  peersPrefix,
  removedPeerKey,
  ringKey,
  ringVersionKey,
  scrubKey,
} from "./keys.ts";
import type { PeerAliveRecord, PeerRecord, RemovedPeerRecord } from "./records.ts";
import { peerAliveCodec, peerCodec, removedPeerCodec, ringCodec, ringPointerCodec } from "./records-codec.ts";
import { bytesOf, type Change, type KeyValue } from "./service.ts";

/** OK: in the ring and alive. Avail: alive, not in the ring. DOWN: not alive. */
export type PeerMembership = "OK" | "Avail" | "DOWN";

export interface PeerStatus {
  readonly peer: PeerId;
  /** null: a member of the ring that never registered, or was forgotten. */
  readonly record: PeerRecord | null;
  readonly alive: PeerAliveRecord | null;
  /** It was taken out of the ring because it was away, and is put back when it returns. */
  readonly removed: RemovedPeerRecord | null;
  readonly inRing: boolean;
  readonly membership: PeerMembership;
}

export interface PeerListing {
  readonly revision: number;
  readonly ring: RingDescription;
  /** By address, then id. */
  readonly peers: readonly PeerStatus[];
  /** Of the keys and values that were read. */
  readonly bytes: number;
}

const readAttemptsMax = 8;

export class PeerRegistry {
  readonly #deps: ChangeDeps;

  constructor(deps: ChangeDeps) {
    this.#deps = deps;
  }

  /** Makes the peer known, or brings its record up to date; `not-found` when there is no cluster yet. */
  async register(record: PeerRecord): Promise<void> {
    const { service } = this.#deps;
    const key = peerRecordKey(record.peer);
    const value = peerCodec.encode(record);
    await commitChange(`register peer ${record.peer}`, this.#deps, async () => {
      const { ranges } = await service.read([{ key: ringKey }, { key }]);
      const cluster = ranges[0].at(0);
      if (cluster === undefined)
        throw new TorusError("not-found", `${service.url} holds no cluster: run torusctl init first`);
      const known = ranges[1].at(0);
      if (known?.value === value) return { done: undefined };
      return {
        guards: [{ key, revision: known?.modRevision ?? 0 }],
        changes: [{ kind: "put", key, value }],
        result: () => undefined,
      };
    });
  }

  /**
   * One heartbeat: renews `lease` and puts `alive` under it. `not-found` when the lease ran out (grant another);
   * `busy` when a daemon with the same peer id and a newer incarnation lives: a copied data directory, or a successor.
   */
  async beat(peer: PeerId, alive: PeerAliveRecord, lease: number): Promise<void> {
    const { service } = this.#deps;
    const key = peerAliveKey(peer);
    const value = peerAliveCodec.encode(alive);
    await service.renewLease(lease);
    await commitChange(`beat the heart of peer ${peer}`, this.#deps, async () => {
      const known = (await service.read([{ key }])).ranges[0].at(0);
      if (known !== undefined) requireOlder(peer, known, alive.incarnation, lease);
      return {
        guards: [{ key, revision: known?.modRevision ?? 0 }],
        changes: [{ kind: "put", key, value, lease }],
        result: () => undefined,
      };
    });
  }

  /** Says at once that the peer stops, rather than when its lease runs out. */
  async stop(lease: number): Promise<void> {
    try {
      await this.#deps.service.revokeLease(lease);
    } catch (error) {
      if (!isTorusError(error, "not-found")) throw error;
    }
  }

  grantLease(ttlMs: number): Promise<number> {
    return this.#deps.service.grantLease(ttlMs);
  }

  /** Every peer known or in the ring, with the ring, at one revision. `not-found` when there is no cluster yet. */
  async list(): Promise<PeerListing> {
    const { service } = this.#deps;
    let pointer = (await service.read([{ key: ringKey }])).ranges[0].at(0);
    for (let count = 0; count < readAttemptsMax && pointer !== undefined; count++) {
      const ringVersion = ringVersionKey(ringPointerCodec.decode(ringKey, pointer.value).version);
      const { revision, ranges } = await service.read([
        { key: ringKey },
        { key: ringVersion },
        { prefix: peersPrefix },
      ]);
      const again = ranges[0].at(0);
      const entry = ranges[1].at(0);
      if (again?.modRevision === pointer.modRevision && entry !== undefined) {
        const ring = ringCodec.decode(ringVersion, entry.value);
        return { revision, ring, peers: joinPeers(ring, ranges[2]), bytes: bytesOf(ranges) };
      }
      pointer = again;
    }
    throw new TorusError("not-found", `${service.url} holds no cluster: run torusctl init first`);
  }

  /** What some peers registered, as far as they did: at most `readRangesMax`. */
  async records(peers: readonly PeerId[]): Promise<readonly PeerRecord[]> {
    const keys = peers.map((peer) => ({ key: peerRecordKey(peer) }));
    const { ranges } = await this.#deps.service.read(keys);
    return ranges.flat().map((entry) => peerCodec.decode(entry.key, entry.value));
  }

  /** It does not matter any more that upkeep took the peer out of the ring: it does not come back by itself. */
  forgetRemoval(peer: PeerId): Promise<void> {
    const key = removedPeerKey(peer);
    return commitChange(`forget why peer ${peer} left the ring`, this.#deps, async () => {
      const entry = (await this.#deps.service.read([{ key }])).ranges[0].at(0);
      if (entry === undefined) return { done: undefined };
      return {
        guards: [{ key, revision: entry.modRevision }],
        changes: [{ kind: "delete", key }],
        result: () => undefined,
      };
    });
  }

  /** Removes the record of a peer that is neither alive nor in the ring; `busy` otherwise. No effect when it is not known. */
  async forget(peer: PeerId): Promise<void> {
    const { service } = this.#deps;
    await commitChange(`forget peer ${peer}`, this.#deps, async () => {
      const { peers, ring } = await this.list();
      const status = peers.find((candidate) => candidate.peer === peer);
      if (status === undefined || status.record === null) return { done: undefined };
      if (status.inRing)
        throw new TorusError("busy", `peer ${peer} is in the ring: remove it from the ring first`);
      if (status.alive !== null) throw new TorusError("busy", `peer ${peer} is alive: stop it first`);
      const { ranges } = await service.read([
        { key: peerRecordKey(peer) },
        { key: peerAliveKey(peer) },
        { key: ringKey },
        { key: removedPeerKey(peer) },
        { key: scrubKey(peer) },
      ]);
      const [record, alive, pointer, removed, scrub] = ranges.map((range) => range.at(0));
      if (record === undefined) return { done: undefined };
      // The ring may have changed between the two reads: the guards tie the decision to what was read.
      const unchanged =
        pointer !== undefined && ringPointerCodec.decode(ringKey, pointer.value).version === ring.version;
      if (!unchanged || alive !== undefined) throw new TorusError("busy", `peer ${peer} came back meanwhile`);
      const changes: Change[] = [{ kind: "delete", key: record.key }];
      if (removed !== undefined) changes.push({ kind: "delete", key: removed.key });
      if (scrub !== undefined) changes.push({ kind: "delete", key: scrub.key });
      return {
        guards: [
          { key: record.key, revision: record.modRevision },
          { key: scrubKey(peer), revision: scrub?.modRevision ?? 0 },
          { key: peerAliveKey(peer), revision: 0 },
          { key: ringKey, revision: pointer.modRevision },
        ],
        changes,
        result: () => undefined,
      };
    });
  }
}

function requireOlder(peer: PeerId, known: KeyValue, incarnation: number, lease: number): void {
  if (known.lease === lease) return;
  const other = peerAliveCodec.decode(known.key, known.value);
  if (other.incarnation < incarnation) return;
  throw new TorusError(
    "busy",
    `peer ${peer} is alive elsewhere (incarnation ${other.incarnation}, this is ${incarnation}): two daemons must not share a data directory or a copy of one`,
    { incarnation: other.incarnation, revision: known.modRevision },
  );
}

function joinPeers(ring: RingDescription, entries: readonly KeyValue[]): PeerStatus[] {
  const records = new Map<PeerId, PeerRecord>();
  const alive = new Map<PeerId, PeerAliveRecord>();
  const removed = new Map<PeerId, RemovedPeerRecord>();
  for (const entry of entries) {
    const parsed = parsePeerKey(entry.key);
    if (parsed === null)
      throw new TorusError("corrupt", `metadata key ${entry.key} is of no known form`, { key: entry.key });
    if (parsed.part === "record") records.set(parsed.peer, peerCodec.decode(entry.key, entry.value));
    else if (parsed.part === "removed")
      removed.set(parsed.peer, removedPeerCodec.decode(entry.key, entry.value));
    else alive.set(parsed.peer, peerAliveCodec.decode(entry.key, entry.value));
  }
  const members = new Set(ring.members.map((member) => member.peer));
  const known = new Set([...records.keys(), ...alive.keys(), ...removed.keys(), ...members]);
  const peers = [...known].map((peer): PeerStatus => {
    const inRing = members.has(peer);
    const live = alive.get(peer) ?? null;
    const membership = live === null ? "DOWN" : inRing ? "OK" : "Avail";
    const record = records.get(peer) ?? null;
    return { peer, record, alive: live, removed: removed.get(peer) ?? null, inRing, membership };
  });
  const order = (status: PeerStatus) => `${status.record?.address ?? "~"} ${status.peer}`;
  return peers.sort((a, b) => (order(a) < order(b) ? -1 : 1));
}
