// Rings in the metadata service: every version is kept for ever (blocks and logmaps name them), one is in force. A
// change is a guarded transaction that makes version old + 1, or nothing.

import type { Log, Timer } from "#host";
import type { PeerId } from "#model";
import { messageOf, TorusError } from "#model";
import type { RingDescription } from "#ring";
import { makeUnion } from "#ring";
import { behindGuard, behindRange, requireNotBehind } from "./behind-guard.ts";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import {
  minterKey,
  parseRingVersionKey,
  peerAliveKey,
  removedPeerKey,
  ringKey,
  ringsPrefix,
  ringVersionKey,
} from "./keys.ts";
import { minterCodec, removedPeerCodec, ringCodec, ringPointerCodec } from "./records-codec.ts";
import type { Change, Guard, KeyValue, Watch } from "./service.ts";

export interface RingWatch {
  close(): void;
}

/** What a change of the ring does in the same transaction. */
interface AlsoCommitted {
  readonly guards?: readonly Guard[];
  readonly changes?: readonly Change[];
}

/** A peer that upkeep takes out of the ring. */
export interface GonePeer {
  readonly peer: PeerId;
  /** In the ring, to be put back with. */
  readonly weight: number;
  /** It has no heartbeat; otherwise its store has failed. */
  readonly isSilent: boolean;
}

/** A guard for each, besides those of the ring. */
export const gonePeersMax = 64;
const readAttemptsMax = 8;
const refreshRetryMs = 1000;

export class RingRegistry {
  readonly #deps: ChangeDeps & { readonly log: Log };

  #lastVersion = 1;
  /** Of the last that `decode` was given. */
  #decoded: { readonly text: string; readonly ring: RingDescription } | null = null;

  constructor(deps: ChangeDeps & { readonly log: Log }) {
    this.#deps = deps;
  }

  /** Of the ring that was in force when that was last looked at: most likely it still is. */
  get lastVersion(): number {
    return this.#lastVersion;
  }

  /** `version` is in force, somebody else has read. */
  noteVersion(version: number): void {
    this.#lastVersion = version;
  }

  /** As it was read; the same object again as long as the text is the same. */
  decode(version: number, text: string | undefined): RingDescription {
    if (text === undefined || this.#decoded?.text !== text || this.#decoded.ring.version !== version)
      this.#decoded = { text: text ?? "", ring: decodeRing(version, text) };
    return this.#decoded.ring;
  }

  /** The ring in force; `not-found` when there is no cluster yet. */
  async current(): Promise<RingDescription> {
    return (await this.currentAt()).ring;
  }

  /** Also the metadata revision it was read at, from which a watch misses nothing. */
  async currentAt(): Promise<{ readonly ring: RingDescription; readonly revision: number }> {
    const { service } = this.#deps;
    let pointer = (await service.read([{ key: ringKey }])).ranges[0].at(0);
    for (let count = 0; count < readAttemptsMax && pointer !== undefined; count++) {
      const { version } = ringPointerCodec.decode(ringKey, pointer.value);
      const key = ringVersionKey(version);
      const { revision, ranges } = await service.read([{ key: ringKey }, { key }]);
      const again = ranges[0].at(0);
      if (again?.modRevision === pointer.modRevision) {
        this.#lastVersion = version;
        return { ring: decodeRing(version, ranges[1].at(0)?.value), revision };
      }
      pointer = again;
    }
    throw new TorusError("not-found", `${service.url} holds no cluster: run torusctl init first`);
  }

  /** Some version, in force or not; `not-found`. */
  async version(version: number): Promise<RingDescription> {
    const entry = (await this.#deps.service.read([{ key: ringVersionKey(version) }])).ranges[0].at(0);
    if (entry === undefined) throw new TorusError("not-found", `there is no ring version ${version}`);
    return decodeRing(version, entry.value);
  }

  /** Every version there was, oldest first. */
  async versions(): Promise<readonly RingDescription[]> {
    const { ranges } = await this.#deps.service.read([{ prefix: ringsPrefix }]);
    return decodeRings(ranges[0]);
  }

  /** Puts `ring` in force. `conflict` unless `expectedVersion` is the one in force; `ring.version` must be the next. */
  commit(expectedVersion: number, ring: RingDescription): Promise<void> {
    return this.#commit(expectedVersion, ring, {});
  }

  async #commit(expectedVersion: number, ring: RingDescription, also: AlsoCommitted): Promise<void> {
    if (ring.version !== expectedVersion + 1) {
      throw new TorusError(
        "invalid-argument",
        `ring version ${ring.version} cannot follow ${expectedVersion}`,
      );
    }
    const value = ringCodec.encode(ring);
    await commitChange(`put ring version ${ring.version} in force`, this.#deps, async (uncertain) => {
      const { ranges } = await this.#deps.service.read([
        { key: ringKey },
        { key: ringVersionKey(ring.version) },
        behindRange,
      ]);
      const pointer = ranges[0].at(0);
      if (pointer === undefined) {
        throw new TorusError(
          "not-found",
          `${this.#deps.service.url} holds no cluster: run torusctl init first`,
        );
      }
      if (uncertain && ranges[1].at(0)?.value === value) return { done: undefined };
      requireNotBehind(ranges[2]);
      const inForce = ringPointerCodec.decode(ringKey, pointer.value).version;
      if (inForce !== expectedVersion) {
        throw new TorusError(
          "conflict",
          `the ring changed meanwhile: version ${inForce} is in force, not ${expectedVersion}`,
        );
      }
      return {
        guards: [
          ...(also.guards ?? []),
          { key: ringKey, revision: pointer.modRevision },
          { key: ringVersionKey(ring.version), revision: 0 },
          behindGuard,
        ],
        changes: [
          { kind: "put", key: ringVersionKey(ring.version), value },
          { kind: "put", key: ringKey, value: ringPointerCodec.encode({ version: ring.version }) },
          ...(also.changes ?? []),
        ],
        result: () => undefined,
      };
    });
  }

  /**
   * Puts `next`, a change of `current`, in force: while blocks may lie where `current` says, as a union of both until they have moved. Resolves with
   * the ring that is in force now. `conflict` unless `current` was.
   */
  change(current: RingDescription, next: RingDescription): Promise<RingDescription> {
    return this.#change(current, next, {});
  }

  /**
   * As `change`, for a ring without peers that were away too long, at most `gonePeersMax`; notes that, so that they can come back. `conflict` also
   * when one of them is not silent any more.
   */
  removePeers(
    current: RingDescription,
    next: RingDescription,
    gone: readonly GonePeer[],
  ): Promise<RingDescription> {
    const removedMs = Math.max(0, Math.round(this.#deps.clock.wallMs()));
    const { version: ringVersion } = next;
    return this.#change(current, next, {
      guards: gone
        .filter(({ isSilent }) => isSilent)
        .map(({ peer }) => ({ key: peerAliveKey(peer), revision: 0 })),
      changes: gone.map(({ peer, weight }) => ({
        kind: "put",
        key: removedPeerKey(peer),
        value: removedPeerCodec.encode({ ringVersion, weight, removedMs }),
      })),
    });
  }

  /** As `change`, for a ring that has `peers` again, which were taken out for being away. */
  restorePeers(
    current: RingDescription,
    next: RingDescription,
    peers: readonly PeerId[],
  ): Promise<RingDescription> {
    return this.#change(current, next, {
      changes: peers.map((peer) => ({ kind: "delete", key: removedPeerKey(peer) })),
    });
  }

  async #change(
    current: RingDescription,
    next: RingDescription,
    also: AlsoCommitted,
  ): Promise<RingDescription> {
    if (next.version !== current.version + 1) {
      throw new TorusError(
        "invalid-argument",
        `ring version ${next.version} cannot follow ${current.version}`,
      );
    }
    const entry = (await this.#deps.service.read([{ key: minterKey }])).ranges[0].at(0);
    const unused = entry !== undefined && minterCodec.decode(minterKey, entry.value).lastVolumeId === 0;
    const moves =
      current.members.length > 0 && !unused && (current.type === "union" || !samePlaces(current, next));
    const ring = moves ? makeUnion(current, next) : next;
    // Without volumes there are no blocks; the guard keeps it so until the ring is in force.
    const unusedGuards = unused ? [{ key: minterKey, revision: entry.modRevision }] : [];
    await this.#commit(current.version, ring, {
      ...also,
      guards: [...(also.guards ?? []), ...unusedGuards],
    });
    return ring;
  }

  /** Calls `listener` with the ring in force when it is above `afterVersion`, then at every change; a quick run of changes may show only its last. */
  watch(afterVersion: number, listener: (ring: RingDescription) => void): RingWatch {
    return new RingFollower(afterVersion, listener, this, this.#deps);
  }
}

/** Whether both place every block alike, but for the number of copies. */
function samePlaces(a: RingDescription, b: RingDescription): boolean {
  return a.type === b.type && JSON.stringify(a.members) === JSON.stringify(b.members);
}

/** The entries below `rings/`. */
export function decodeRings(entries: readonly KeyValue[]): RingDescription[] {
  return entries.map((entry) => {
    const version = parseRingVersionKey(entry.key);
    if (version !== null) return decodeRing(version, entry.value);
    throw new TorusError("corrupt", `metadata key ${entry.key} is of no known form`, { key: entry.key });
  });
}

/** The ring of a key below `rings/`; `corrupt` when it is not there. */
export function decodeRing(version: number, encoded: string | undefined): RingDescription {
  const key = ringVersionKey(version);
  const ring = encoded === undefined ? null : ringCodec.decode(key, encoded);
  if (ring === null || ring.version !== version) {
    throw new TorusError("corrupt", `metadata key ${key} does not hold ring version ${version}`, { key });
  }
  return ring;
}

/** Follows the pointer: reads again after every event, one read at a time, and tries again while the service is away. */
class RingFollower implements RingWatch {
  readonly #listener: (ring: RingDescription) => void;
  readonly #rings: RingRegistry;
  readonly #deps: ChangeDeps & { readonly log: Log };
  #version: number;
  #watch: Watch | null = null;
  #timer: Timer | null = null;
  #reading = false;
  #again = false;
  #closed = false;

  constructor(
    afterVersion: number,
    listener: (ring: RingDescription) => void,
    rings: RingRegistry,
    deps: ChangeDeps & { readonly log: Log },
  ) {
    this.#version = afterVersion;
    this.#listener = listener;
    this.#rings = rings;
    this.#deps = deps;
    void this.#refresh();
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
    this.#timer?.cancel();
  }

  async #refresh(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    try {
      do {
        this.#again = false;
        const { ring, revision } = await this.#rings.currentAt();
        if (this.#closed) return;
        this.#startWatch(revision);
        this.#offer(ring);
      } while (this.#again && !this.#closed);
    } catch (error) {
      if (this.#closed) return;
      this.#deps.log.warn("The ring cannot be read; trying again.", { reason: messageOf(error) });
      this.#timer = this.#deps.clock.setTimer(refreshRetryMs, () => void this.#refresh());
    } finally {
      this.#reading = false;
    }
  }

  #startWatch(revision: number): void {
    this.#watch ??= this.#deps.service.watch(ringKey, revision, {
      events: () => void this.#refresh(),
      reset: () => {
        this.#watch?.close();
        this.#watch = null;
        void this.#refresh();
      },
    });
  }

  #offer(ring: RingDescription): void {
    if (ring.version === this.#version) return;
    if (ring.version < this.#version) {
      this.#deps.log.error("The metadata service went back to an older ring; it is not taken.", {
        version: ring.version,
        known: this.#version,
      });
      return;
    }
    this.#version = ring.version;
    this.#listener(ring);
  }
}
