// Clones in the metadata service: volumes that begin as a snapshot of another. Nothing is copied: a clone's head is the snapshot's
// INode, whose blocks stay those of the volume it was cloned from (and of what that one was cloned from).
//
// Invariants: the transaction that makes a clone is guarded by the snapshot's key, so the INode was still named when the clone
// began to name it [C6]. `origin.bases` lists every volume whose blocks a clone's INodes may name, so it needs no chain to be
// followed, and a volume in anybody's `bases` cannot be deleted.

import type { VolumeId } from "#model";
import { formatBytes, TorusError } from "#model";
import type { ChangeDeps, Decision } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import { requireName, requireVolumeName, snapshotKey, volumeKey, volumePrefix } from "./keys.ts";
import type { AcknowledgeMode, HeadRecord, OriginRecord, VolumeSpec, VolumeState } from "./records.ts";
import { headCodec } from "./records-codec.ts";
import type { Change } from "./service.ts";
import { basesMax, originCodec } from "./snapshot-codec.ts";
import type { VolumeRequest } from "./volume-creation.ts";
import { decideCreation, requireVolumeRequest } from "./volume-creation.ts";
import { VolumeEntries } from "./volume-entries.ts";
import type { VolumeRegistry } from "./volume-registry.ts";
import type { WriterAttachment } from "./volume-writers.ts";

export interface CloneRequest {
  readonly volume: string;
  readonly snapshot: string;
  /** Of the clone. */
  readonly name: string;
  /** At least that of the snapshot; null for the same. */
  readonly sizeBytes: number | null;
  /** Null for what the volume has. */
  readonly acknowledge: AcknowledgeMode | null;
  readonly minReplicas: number | null;
}

/** The volumes any INode of which (head or snapshot) may name blocks of volume `id`: itself, and clones that come from it. */
export function volumesNaming(volumes: Iterable<VolumeState>, id: VolumeId): VolumeState[] {
  return [...volumes].filter(({ spec, origin }) => spec.id === id || origin?.bases.includes(id) === true);
}

export class CloneRegistry {
  readonly #deps: ChangeDeps & { readonly volumes: VolumeRegistry };

  constructor(deps: ChangeDeps & { readonly volumes: VolumeRegistry }) {
    this.#deps = deps;
  }

  /** Makes a volume whose content is the snapshot's. `not-found`, `already-exists`, `invalid-argument`, `limit`. */
  async create(request: CloneRequest): Promise<VolumeSpec> {
    requireVolumeName(request.volume);
    requireName(request.snapshot, "snapshot");
    requireVolumeName(request.name);
    const token = this.#deps.random.uuid();
    return commitChange(`clone volume "${request.volume}"`, this.#deps, (uncertain) =>
      this.#decide(request, token, uncertain),
    );
  }

  async #decide(request: CloneRequest, token: string, uncertain: boolean): Promise<Decision<VolumeSpec>> {
    const entries = await this.#deps.volumes.findEntries(request.volume);
    const base = entries.state();
    const snapshot = base.snapshots.find(({ name }) => name === request.snapshot);
    if (snapshot === undefined) throw noSnapshot(request.volume, request.snapshot);
    const sizeBytes = request.sizeBytes ?? snapshot.sizeBytes;
    if (sizeBytes < snapshot.sizeBytes) {
      throw new TorusError(
        "invalid-argument",
        `a clone of ${request.volume}@${request.snapshot} cannot be smaller than it: ${formatBytes(snapshot.sizeBytes)}`,
      );
    }
    const { name } = request;
    const acknowledge = request.acknowledge ?? base.spec.acknowledge;
    const minReplicas = request.minReplicas ?? base.spec.minReplicas;
    const volume: VolumeRequest = {
      name,
      kind: base.spec.kind,
      sizeBytes,
      acknowledge,
      minReplicas,
      qos: base.spec.qos,
    };
    requireVolumeRequest(volume);
    const { id } = base.spec;
    const bases = [id, ...(base.origin?.bases ?? [])];
    if (bases.length > basesMax) {
      throw new TorusError(
        "limit",
        `volume "${request.volume}" is the last of ${basesMax} clones in a row: torusctl volume flatten it first`,
      );
    }
    const origin: OriginRecord = { volume: id, name: base.spec.name, snapshot: snapshot.name, bases };
    const head: HeadRecord = {
      epoch: 0,
      root: snapshot.root,
      ringVersion: snapshot.ringVersion,
      replayFrom: 1,
      sequence: 0,
      previous: 0,
      positionIndex: 0,
      positionOffset: 0,
      usedBytes: snapshot.usedBytes,
      logBytes: snapshot.logBytes,
      ended: true,
      timeMs: 0,
      device: null,
    };
    const guards = [snapshotKey(id, snapshot.name), volumeKey(id, "spec"), volumeKey(id, "origin")].map(
      (key) => ({ key, revision: entries.revisionOfKey(key) }),
    );
    const changes = (own: VolumeId): Change[] => [
      { kind: "put", key: volumeKey(own, "head"), value: headCodec.encode(head) },
      { kind: "put", key: volumeKey(own, "origin"), value: originCodec.encode(origin) },
    ];
    return decideCreation(volume, token, { guards, changes }, uncertain, this.#deps);
  }

  /**
   * What the INodes of an attached clone still name: the origin goes when `bases` is empty. The caller has looked at the head and at every snapshot while
   * it was the writer: none can have come since. `fenced` when another writer came.
   */
  async narrow(attachment: WriterAttachment, bases: readonly VolumeId[]): Promise<void> {
    const { volume, name } = attachment;
    const key = volumeKey(volume, "origin");
    const writer = { key: volumeKey(volume, "writer"), revision: attachment.writerRevision };
    await commitChange<void>(`change the origin of volume "${name}"`, this.#deps, async () => {
      const { ranges } = await this.#deps.service.read([{ prefix: volumePrefix(volume) }]);
      const entries = new VolumeEntries(volume, ranges[0]);
      if (entries.revisionOfKey(writer.key) !== writer.revision)
        throw new TorusError("fenced", `volume "${name}" was taken over while its origin was changed`);
      const { origin } = entries.state();
      if (origin === null) return { done: undefined };
      const left = origin.bases.filter((id) => bases.includes(id));
      if (left.length === origin.bases.length) return { done: undefined };
      const change: Change =
        left.length === 0
          ? { kind: "delete", key }
          : { kind: "put", key, value: originCodec.encode({ ...origin, bases: left }) };
      const guards = [writer, { key, revision: entries.revisionOf("origin") }];
      return { guards, changes: [change], result: () => undefined };
    });
  }
}

export function noSnapshot(volume: string, snapshot: string): TorusError {
  return new TorusError(
    "not-found",
    `volume "${volume}" has no snapshot "${snapshot}": torusctl volume snapshot list ${volume} shows those there are`,
  );
}
