// ClusterMetadata: what the cluster agrees on, as typed operations over a MetadataService. Every change is a guarded
// transaction whose unknown outcome is read back (guarded-change.ts); every read that decides is at one revision.

import type { Clock, Log, Random } from "#host";
import type { VolumeId } from "#model";
import { blockBytesMax, blockBytesMin, formatBytes, replicasMax, TorusError } from "#model";
import type { RingDescription } from "#ring";
import { AdoptionRegistry } from "./adoption.ts";
import { behindRange, behindReason } from "./behind-guard.ts";
import { CloneRegistry } from "./clone-registry.ts";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import { HistoryRegistry } from "./history-registry.ts";
import {
  allRanges,
  clusterKey,
  decidingRanges,
  minterKey,
  ringKey,
  ringVersionKey,
  upkeepKey,
} from "./keys.ts";
import { PeerRegistry } from "./peer-registry.ts";
import type { ClusterRecord, TombstoneRecord, UpkeepRecord, VolumeState } from "./records.ts";
import {
  clusterCodec,
  minterCodec,
  ringCodec,
  ringPointerCodec,
  tombstoneCodec,
  upkeepCodec,
} from "./records-codec.ts";
import { RequestRegistry } from "./request-registry.ts";
import { RingRegistry } from "./ring-registry.ts";
import { ScrubRegistry } from "./scrub-registry.ts";
import { bytesOf, type KeyValue, type MetadataService } from "./service.ts";
import { SnapshotRegistry } from "./snapshot-registry.ts";
import { VolumeRegistry } from "./volume-registry.ts";
import { VolumeStates } from "./volume-states.ts";
import { VolumeWriters } from "./volume-writers.ts";

export interface ClusterDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface ClusterRequest {
  readonly blockBytes: number;
  /** The first ring, version 1. */
  readonly ring: RingDescription;
}

/** All metadata that decides over data, at one revision: what upkeep judges blocks by [C6]. */
export interface ClusterSnapshot {
  readonly revision: number;
  readonly cluster: ClusterRecord;
  /** No volume has a higher id. */
  readonly lastVolumeId: VolumeId;
  readonly volumes: ReadonlyMap<VolumeId, VolumeState>;
  readonly tombstones: ReadonlyMap<VolumeId, TombstoneRecord>;
  readonly ringVersion: number;
  /** In force. */
  readonly ring: RingDescription;
  /** What operators ask of upkeep. */
  readonly upkeep: UpkeepRecord;
  /** Who noticed that the metadata went back, and how; "" while nobody has. Nothing is moved or let go by such metadata [C7]. */
  readonly behind: string;
  /** Of the keys and values that were read. */
  readonly bytes: number;
}

export class ClusterMetadata {
  readonly service: MetadataService;
  readonly peers: PeerRegistry;
  readonly rings: RingRegistry;
  readonly volumes: VolumeRegistry;
  readonly writers: VolumeWriters;
  readonly adoption: AdoptionRegistry;
  readonly snapshots: SnapshotRegistry;
  readonly requests: RequestRegistry;
  readonly clones: CloneRegistry;
  readonly history: HistoryRegistry;
  readonly scrubs: ScrubRegistry;
  readonly #deps: ChangeDeps;
  readonly #states: VolumeStates;

  constructor(service: MetadataService, deps: ClusterDeps) {
    this.service = service;
    this.#deps = { service, clock: deps.clock, random: deps.random };
    this.peers = new PeerRegistry(this.#deps);
    this.rings = new RingRegistry({ ...this.#deps, log: deps.log });
    this.volumes = new VolumeRegistry({ ...this.#deps, log: deps.log });
    this.writers = new VolumeWriters(this.#deps);
    this.adoption = new AdoptionRegistry(this.#deps);
    this.snapshots = new SnapshotRegistry({ ...this.#deps, volumes: this.volumes });
    this.requests = new RequestRegistry(this.#deps);
    this.clones = new CloneRegistry({ ...this.#deps, volumes: this.volumes });
    this.history = new HistoryRegistry({ ...this.#deps, volumes: this.volumes });
    this.scrubs = new ScrubRegistry(this.#deps);
    this.#states = new VolumeStates({}, deps);
  }

  /** Makes the cluster; `already-exists` when there is one. */
  async init(request: ClusterRequest): Promise<ClusterRecord> {
    const { service, clock, random } = this.#deps;
    requireClusterRequest(request);
    const cluster: ClusterRecord = {
      clusterId: random.uuid(),
      blockBytes: request.blockBytes,
      createdMs: clock.wallMs(),
    };
    const value = clusterCodec.encode(cluster);
    return commitChange<ClusterRecord>("make the cluster", this.#deps, async (uncertain) => {
      const { ranges } = await service.read(allRanges);
      const known = ranges[0].at(0);
      if (uncertain && known?.value === value) return { done: cluster };
      if (known !== undefined) {
        const { clusterId } = clusterCodec.decode(clusterKey, known.value);
        throw new TorusError(
          "already-exists",
          `${service.url} holds cluster ${clusterId} already: use it, or torusctl wipe it`,
        );
      }
      const left = ranges.flat().at(0);
      if (left !== undefined) {
        throw new TorusError(
          "corrupt",
          `${service.url} has no cluster but key ${left.key}: it is damaged, or not ours`,
          { key: left.key },
        );
      }
      return {
        guards: [clusterKey, minterKey, ringKey].map((key) => ({ key, revision: 0 })),
        changes: [
          { kind: "put", key: clusterKey, value },
          { kind: "put", key: minterKey, value: minterCodec.encode({ lastVolumeId: 0 }) },
          { kind: "put", key: ringVersionKey(1), value: ringCodec.encode(request.ring) },
          { kind: "put", key: ringKey, value: ringPointerCodec.encode({ version: 1 }) },
        ],
        result: () => cluster,
      };
    });
  }

  /** `not-found` when there is no cluster yet. */
  async load(): Promise<ClusterRecord> {
    const entry = (await this.service.read([{ key: clusterKey }])).ranges[0].at(0);
    if (entry === undefined) throw this.#noCluster();
    return clusterCodec.decode(clusterKey, entry.value);
  }

  /** Everything at one revision; `not-found` when there is no cluster, `corrupt` when any of it cannot be read. */
  async snapshot(): Promise<ClusterSnapshot> {
    for (let count = 0; count < snapshotAttemptsMax; count++) {
      const { lastVersion } = this.rings;
      const { revision, ranges } = await this.service.read([
        { key: ringVersionKey(lastVersion) },
        behindRange,
        ...decidingRanges,
      ]);
      const [ring, behind, cluster, minter, pointer, volumes, tombstones, upkeep] = ranges;
      const clusterEntry = cluster.at(0);
      const minterEntry = minter.at(0);
      const pointerEntry = pointer.at(0);
      if (clusterEntry === undefined) throw this.#noCluster();
      if (minterEntry === undefined || pointerEntry === undefined) {
        throw new TorusError(
          "corrupt",
          `${this.service.url} has a cluster without minter or ring: it is damaged`,
        );
      }
      const { version } = ringPointerCodec.decode(ringKey, pointerEntry.value);
      // All is read again, with the ring that is in force: there is one revision for all of it.
      if (version !== lastVersion) {
        this.rings.noteVersion(version);
        continue;
      }
      const graves = tombstones.map((entry) => tombstoneCodec.decode(entry.key, entry.value));
      return {
        revision,
        cluster: clusterCodec.decode(clusterKey, clusterEntry.value),
        lastVolumeId: minterCodec.decode(minterKey, minterEntry.value).lastVolumeId,
        volumes: await this.#states.decode(volumes),
        tombstones: new Map(graves.map((grave) => [grave.id, grave])),
        ringVersion: version,
        ring: this.rings.decode(version, ring.at(0)?.value),
        upkeep: decodeUpkeep(upkeep.at(0)),
        behind: behindReason(behind),
        bytes: bytesOf(ranges),
      };
    }
    throw new TorusError("conflict", "the ring kept changing while the metadata was read: try again");
  }

  /** What operators ask of upkeep. */
  async upkeep(): Promise<UpkeepRecord> {
    return decodeUpkeep((await this.service.read([{ key: upkeepKey }])).ranges[0].at(0));
  }

  /** Has every peer stop, or go on, moving blocks. */
  async pauseUpkeep(paused: boolean): Promise<void> {
    const value = upkeepCodec.encode({ paused });
    await commitChange(paused ? "pause upkeep" : "resume upkeep", this.#deps, async () => {
      const { ranges } = await this.service.read([{ key: clusterKey }, { key: upkeepKey }]);
      if (ranges[0].length === 0) throw this.#noCluster();
      const known = ranges[1].at(0);
      if (known?.value === value) return { done: undefined };
      return {
        guards: [{ key: upkeepKey, revision: known?.modRevision ?? 0 }],
        changes: [{ kind: "put", key: upkeepKey, value }],
        result: () => undefined,
      };
    });
  }

  /** Removes every key of the cluster, each by its full name, as they were read. Blocks on peers stay, unreadable. `conflict` when others keep writing. */
  async wipe(): Promise<number> {
    const entries = (await this.service.read(allRanges)).ranges.flat();
    // The cluster key goes last: a wipe that stopped half way is seen as one and can be repeated.
    const ordered = [
      ...entries.filter((entry) => entry.key !== clusterKey),
      ...entries.filter((entry) => entry.key === clusterKey),
    ];
    for (let start = 0; start < ordered.length; start += wipeBatchKeys) {
      const batch = ordered.slice(start, start + wipeBatchKeys);
      const { committed } = await this.service.transact(
        batch.map((entry) => ({ key: entry.key, revision: entry.modRevision })),
        batch.map((entry) => ({ kind: "delete", key: entry.key })),
      );
      if (!committed)
        throw new TorusError(
          "conflict",
          "the metadata changed while it was wiped: stop all daemons and wipe again",
        );
    }
    return ordered.length;
  }

  close(): Promise<void> {
    return this.service.close();
  }

  #noCluster(): TorusError {
    return new TorusError("not-found", `${this.service.url} holds no cluster: run torusctl init first`);
  }
}

function decodeUpkeep(entry: KeyValue | undefined): UpkeepRecord {
  return entry === undefined ? { paused: false } : upkeepCodec.decode(entry.key, entry.value);
}

const snapshotAttemptsMax = 8;
/** A guard for each. */
const wipeBatchKeys = 100;

function requireClusterRequest({ blockBytes, ring }: ClusterRequest): void {
  const power = 2 ** Math.round(Math.log2(blockBytes));
  if (power !== blockBytes || blockBytes < blockBytesMin || blockBytes > blockBytesMax) {
    throw new TorusError(
      "invalid-argument",
      `a block size of ${blockBytes} bytes is not possible: use a power of two from ${formatBytes(blockBytesMin)} to ${formatBytes(blockBytesMax)}`,
    );
  }
  if (ring.version !== 1)
    throw new TorusError("invalid-argument", `a cluster's first ring is version 1, not ${ring.version}`);
  if (!Number.isInteger(ring.replicas) || ring.replicas < 1 || ring.replicas > replicasMax) {
    throw new TorusError(
      "invalid-argument",
      `a replication of ${ring.replicas} is not possible: use 1 to ${replicasMax}`,
    );
  }
}
