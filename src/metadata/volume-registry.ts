// Volumes in the metadata service: create, find, list, delete. Who may write one is in volume-writers.ts.
//
// A volume's id is minted once and never given out again; its epoch key (`writer`) is made with the volume and goes
// only when the tombstone is written, so an epoch never vanishes. What decides is read at one revision.

import type { Log } from "#host";
import type { Epoch, VolumeId } from "#model";
import { pageBytes, replicasMax, TorusError, volumeBytesMax, volumeIdMax } from "#model";
import { behindGuard, behindRange, requireNotBehind } from "./behind-guard.ts";
import type { ChangeDeps, Decision } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import {
  minterKey,
  nameKey,
  requireName,
  tombstoneKey,
  tombstonesPrefix,
  volumeKey,
  volumePrefix,
  volumesPrefix,
} from "./keys.ts";
import type { AcknowledgeMode, CutRecord, TombstoneRecord, VolumeSpec, VolumeState } from "./records.ts";
import { cutCodec, minterCodec, nameCodec, specCodec, tombstoneCodec, writerCodec } from "./records-codec.ts";
import type { Change, KeyValue } from "./service.ts";
import { clearedTombstones } from "./tombstones.ts";
import { groupVolumes, isAttached, VolumeEntries } from "./volume-entries.ts";

export interface VolumeRequest {
  readonly name: string;
  readonly sizeBytes: number;
  readonly acknowledge: AcknowledgeMode;
  readonly minReplicas: number;
}

export interface VolumeDeletion {
  /** Also while a writer lives, and with snapshots. */
  readonly force: boolean;
  /** Tells every peer that may hold the volume to refuse anything below `epoch`; rejects when one cannot be told. */
  fence(state: VolumeState, epoch: Epoch): Promise<void>;
}

export interface VolumeListing {
  readonly revision: number;
  /** By name. */
  readonly volumes: readonly VolumeState[];
}

const findAttemptsMax = 8;

export class VolumeRegistry {
  readonly #deps: ChangeDeps & { readonly log: Log };

  constructor(deps: ChangeDeps & { readonly log: Log }) {
    this.#deps = deps;
  }

  /** Mints an id and makes the volume. `already-exists` when the name is taken, `invalid-argument` for a bad name, size or replica count. */
  async create(request: VolumeRequest): Promise<VolumeSpec> {
    requireRequest(request);
    const token = this.#deps.random.uuid();
    return commitChange(`create volume "${request.name}"`, this.#deps, (uncertain) =>
      this.#decideCreate(request, token, uncertain),
    );
  }

  async #decideCreate(
    request: VolumeRequest,
    token: string,
    uncertain: boolean,
  ): Promise<Decision<VolumeSpec>> {
    const { service, clock } = this.#deps;
    const { ranges } = await service.read([{ key: minterKey }, { key: nameKey(request.name) }, behindRange]);
    const minter = ranges[0].at(0);
    const taken = ranges[1].at(0);
    if (minter === undefined) {
      throw new TorusError("not-found", `${service.url} holds no cluster: run torusctl init first`);
    }
    if (taken !== undefined) {
      const owner = nameCodec.decode(taken.key, taken.value);
      if (uncertain && owner.token === token) return { done: (await this.load(owner.id)).spec };
      throw new TorusError(
        "already-exists",
        `a volume named "${request.name}" exists already: choose another name`,
      );
    }
    requireNotBehind(ranges[2]);
    const id = minterCodec.decode(minterKey, minter.value).lastVolumeId + 1;
    if (id > volumeIdMax) throw new TorusError("limit", "all 2^40 volume ids were given out");
    const { name, sizeBytes, acknowledge, minReplicas } = request;
    const createdMs = clock.wallMs();
    const spec: VolumeSpec = { id, name, kind: "block", sizeBytes, acknowledge, minReplicas, createdMs };
    return {
      guards: [
        { key: minterKey, revision: minter.modRevision },
        { key: nameKey(name), revision: 0 },
        { key: volumeKey(id, "spec"), revision: 0 },
        { key: volumeKey(id, "writer"), revision: 0 },
        { key: tombstoneKey(id), revision: 0 },
        behindGuard,
      ],
      changes: [
        { kind: "put", key: minterKey, value: minterCodec.encode({ lastVolumeId: id }) },
        { kind: "put", key: nameKey(name), value: nameCodec.encode({ id, token }) },
        { kind: "put", key: volumeKey(id, "spec"), value: specCodec.encode(spec) },
        { kind: "put", key: volumeKey(id, "writer"), value: writerCodec.encode({ epoch: 0, owner: "" }) },
      ],
      result: () => spec,
    };
  }

  /** All volumes at one revision. */
  async list(): Promise<VolumeListing> {
    const { revision, ranges } = await this.#deps.service.read([{ prefix: volumesPrefix }]);
    const volumes = groupVolumes(ranges[0]).map((entries) => entries.state());
    volumes.sort((a, b) => (a.spec.name < b.spec.name ? -1 : 1));
    return { revision, volumes };
  }

  /** The volume that has `name`, all of it read at one revision; `not-found`. */
  async find(name: string): Promise<VolumeState> {
    return (await this.#findEntries(requireName(name, "volume"))).state();
  }

  /** `not-found` when it was deleted or never was. */
  async load(id: VolumeId): Promise<VolumeState> {
    return (await this.#loadEntries(id)).state();
  }

  async #loadEntries(id: VolumeId): Promise<VolumeEntries> {
    const { ranges } = await this.#deps.service.read([{ prefix: volumePrefix(id) }]);
    if (ranges[0].length === 0) throw new TorusError("not-found", `there is no volume with id ${id}`);
    return new VolumeEntries(id, ranges[0]);
  }

  /** The id behind a name never changes while the name stands, so two reads that agree are one. */
  async #findEntries(name: string): Promise<VolumeEntries> {
    const { service } = this.#deps;
    let first = (await service.read([{ key: nameKey(name) }])).ranges[0].at(0);
    for (let count = 0; count < findAttemptsMax && first !== undefined; count++) {
      const id = nameCodec.decode(first.key, first.value).id;
      const { ranges } = await service.read([{ key: nameKey(name) }, { prefix: volumePrefix(id) }]);
      const again: KeyValue | undefined = ranges[0].at(0);
      if (again?.modRevision === first.modRevision) return new VolumeEntries(id, ranges[1]);
      first = again;
    }
    throw new TorusError(
      "not-found",
      `there is no volume named "${name}": torusctl volume list shows those there are`,
    );
  }

  /**
   * Raises the epoch, has the peers fenced, then writes the tombstone and removes every key of the volume by its full name. `busy`
   * while a live lease (or a snapshot) exists, unless `force`; also when someone attached in between. A deletion that failed half way is repeated by calling again.
   */
  async delete(name: string, deletion: VolumeDeletion): Promise<TombstoneRecord> {
    const token = this.#deps.random.uuid();
    const entries = await this.#raiseForDeletion(requireName(name, "volume"), token, deletion.force);
    const state = entries.state();
    const epoch = state.writer.epoch;
    await deletion.fence(state, epoch);
    const tombstone: TombstoneRecord = {
      id: state.spec.id,
      name: state.spec.name,
      epoch,
      token,
      deletedMs: this.#deps.clock.wallMs(),
    };
    await commitChange(`delete volume "${name}"`, this.#deps, (uncertain) =>
      this.#decideBury(tombstone, entries.revisionOf("writer"), deletion.force, uncertain),
    );
    this.#deps.log.info("A volume was deleted.", { volume: tombstone.id, name: tombstone.name, epoch });
    return tombstone;
  }

  /** First step: takes an epoch nobody will write with and the lease away. The entries as they are afterwards. */
  #raiseForDeletion(name: string, token: string, force: boolean): Promise<VolumeEntries> {
    return commitChange<VolumeEntries>(`delete volume "${name}"`, this.#deps, async (uncertain) => {
      const entries = await this.#findEntries(name);
      const { spec, writer } = entries.state();
      const owner = `delete ${token}`;
      if (uncertain && writer.owner === owner) return { done: entries };
      if (!force) requireFree(entries);
      requireNotBehind((await this.#deps.service.read([behindRange])).ranges[0]);
      const value = writerCodec.encode({ epoch: writer.epoch + 1, owner });
      const writerKey = volumeKey(spec.id, "writer");
      const changes: Change[] = [{ kind: "put", key: writerKey, value }];
      for (const part of ["lease", "status"] as const) {
        if (entries.has(part)) changes.push({ kind: "delete", key: volumeKey(spec.id, part) });
      }
      return {
        guards: [entries.guard("spec"), entries.guard("writer"), entries.guard("lease"), behindGuard],
        changes,
        result: (revision) => entries.withoutLease(value, revision),
      };
    });
  }

  async #decideBury(
    tombstone: TombstoneRecord,
    writerRevision: number,
    force: boolean,
    uncertain: boolean,
  ): Promise<Decision<void>> {
    const { id, name } = tombstone;
    const { ranges } = await this.#deps.service.read([
      { prefix: volumePrefix(id) },
      { key: nameKey(name) },
      { key: tombstoneKey(id) },
      behindRange,
    ]);
    requireNotBehind(ranges[3]);
    const buried = ranges[2].at(0);
    if (ranges[0].length === 0 && buried !== undefined) {
      const other = tombstoneCodec.decode(buried.key, buried.value);
      if (uncertain && other.token === tombstone.token) return { done: undefined };
      throw new TorusError("conflict", `volume "${name}" was deleted by someone else at the same time`);
    }
    const entries = new VolumeEntries(id, ranges[0]);
    if (entries.revisionOf("writer") !== writerRevision) {
      throw new TorusError(
        "busy",
        `volume "${name}" was attached while it was being deleted: detach it and delete again`,
      );
    }
    if (!force) requireFree(entries);
    const taken = ranges[1].at(0);
    const ownName = taken !== undefined && nameCodec.decode(taken.key, taken.value).id === id;
    const guards = ranges[0].map((entry) => ({ key: entry.key, revision: entry.modRevision }));
    guards.push(behindGuard);
    const changes: Change[] = ranges[0].map((entry) => ({ kind: "delete", key: entry.key }));
    if (ownName) {
      guards.push({ key: taken.key, revision: taken.modRevision });
      changes.push({ kind: "delete", key: taken.key });
    }
    changes.push({ kind: "put", key: tombstoneKey(id), value: tombstoneCodec.encode(tombstone) });
    return { guards, changes, result: () => undefined };
  }

  /**
   * Says that the clients `cut` is about have ended: the volume may be used by clients that come back again. No effect when it is gone
   * already; `conflict` when there is a newer one, which nobody has seen.
   */
  acceptLoss({ spec }: VolumeState, cut: CutRecord): Promise<void> {
    const value = cutCodec.encode(cut);
    return commitChange(`accept the loss of volume "${spec.name}"`, this.#deps, async () => {
      const entries = await this.#loadEntries(spec.id);
      if (!entries.has("cut")) return { done: undefined };
      if (entries.textOf("cut") !== value) {
        throw new TorusError(
          "conflict",
          `volume "${spec.name}" lost more while the loss was being accepted: look again`,
        );
      }
      return {
        guards: [entries.guard("cut")],
        changes: [{ kind: "delete", key: volumeKey(spec.id, "cut") }],
        result: () => undefined,
      };
    });
  }

  /** Deleted volumes whose blocks may still be on peers. */
  async tombstones(): Promise<readonly TombstoneRecord[]> {
    const { ranges } = await this.#deps.service.read([{ prefix: tombstonesPrefix }]);
    return ranges[0].map((entry) => tombstoneCodec.decode(entry.key, entry.value));
  }

  /** Removes the tombstones of volumes of which every peer there is has reported no blocks; those removed. */
  async dropClearedTombstones(): Promise<readonly TombstoneRecord[]> {
    const cleared = await clearedTombstones(this.#deps);
    for (const { id } of cleared) await this.removeTombstone(id);
    return cleared;
  }

  /** Once every peer there is has reported none of its blocks. No effect when it is gone already. */
  removeTombstone(id: VolumeId): Promise<void> {
    return commitChange(`remove the tombstone of volume ${id}`, this.#deps, async () => {
      const entry = (await this.#deps.service.read([{ key: tombstoneKey(id) }])).ranges[0].at(0);
      if (entry === undefined) return { done: undefined };
      return {
        guards: [{ key: entry.key, revision: entry.modRevision }],
        changes: [{ kind: "delete", key: entry.key }],
        result: () => undefined,
      };
    });
  }
}

/** `busy` while a lease lives, or while snapshots would go with the volume unasked. */
function requireFree(entries: VolumeEntries): void {
  const state = entries.state();
  if (isAttached(state)) {
    throw new TorusError(
      "busy",
      `volume "${state.spec.name}" is attached by ${state.lease?.holder}: detach it first, or use --force to cut it off`,
      { holder: state.lease?.holder ?? "" },
    );
  }
  const snapshots = entries.snapshotNames();
  if (snapshots.length > 0) {
    throw new TorusError(
      "busy",
      `volume "${state.spec.name}" has snapshots (${snapshots.slice(0, 5).join(", ")}): delete them first, or use --force to lose them too`,
      { snapshots },
    );
  }
}

function requireRequest(request: VolumeRequest): void {
  requireName(request.name, "volume");
  const { sizeBytes, minReplicas } = request;
  if (
    !Number.isSafeInteger(sizeBytes) ||
    sizeBytes < pageBytes ||
    sizeBytes > volumeBytesMax ||
    sizeBytes % pageBytes !== 0
  ) {
    throw new TorusError(
      "invalid-argument",
      `a volume cannot have ${sizeBytes} bytes: use a multiple of ${pageBytes} (4 KiB) up to 256 TiB`,
    );
  }
  if (!Number.isInteger(minReplicas) || minReplicas < 1 || minReplicas > replicasMax) {
    throw new TorusError(
      "invalid-argument",
      `--min-replicas ${minReplicas} is not possible: use 1 to ${replicasMax}`,
    );
  }
}
