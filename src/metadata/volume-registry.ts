// Volumes in the metadata service: create, find, list, delete. Who may write one is in volume-writers.ts, snapshots are in
// snapshot-registry.ts, clones in clone-registry.ts.
//
// A volume's id is minted once and never given out again; its epoch key (`writer`) is made with the volume and goes
// only when the tombstone is written, so an epoch never vanishes. What decides is read at one revision.

import type { Log } from "#host";
import type { VolumeId } from "#model";
import { TorusError } from "#model";
import type { ChangeDeps } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import {
  nameKey,
  requireVolumeName,
  tombstoneKey,
  tombstonesPrefix,
  volumeKey,
  volumePrefix,
  volumesPrefix,
} from "./keys.ts";
import type { CutRecord, QosLimits, TombstoneRecord, VolumeSpec, VolumeState } from "./records.ts";
import { cutCodec, nameCodec, tombstoneCodec } from "./records-codec.ts";
import type { KeyValue } from "./service.ts";
import { specCodec } from "./spec-codec.ts";
import { clearedTombstones } from "./tombstones.ts";
import type { VolumeDeletion } from "./volume-burial.ts";
import { VolumeBurial } from "./volume-burial.ts";
import type { VolumeRequest } from "./volume-creation.ts";
import { decideCreation, emptyBeginning, requireVolumeRequest } from "./volume-creation.ts";
import { groupVolumes, VolumeEntries } from "./volume-entries.ts";
import type { HeadCompany } from "./volume-writers.ts";

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
    requireVolumeRequest(request);
    const token = this.#deps.random.uuid();
    return commitChange(`create volume "${request.name}"`, this.#deps, (uncertain) =>
      decideCreation(request, token, emptyBeginning, uncertain, this.#deps),
    );
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
    return (await this.findEntries(name)).state();
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

  /**
   * As `find`, with the revision of every key. The id behind a name never changes while the name stands, so two reads that agree
   * are one.
   */
  async findEntries(name: string): Promise<VolumeEntries> {
    const { service } = this.#deps;
    requireVolumeName(name);
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
   * while a live lease (or a snapshot) exists, unless `force`; also when someone attached in between, and always while clones need its blocks. A deletion that failed half way is repeated by calling again.
   */
  async delete(name: string, deletion: VolumeDeletion): Promise<TombstoneRecord> {
    const findEntries = (wanted: string) => this.findEntries(wanted);
    const burial = new VolumeBurial(requireVolumeName(name), deletion, { ...this.#deps, findEntries });
    const tombstone = await burial.run();
    const { id, epoch } = tombstone;
    this.#deps.log.info("A volume was deleted.", { volume: id, name, epoch });
    return tombstone;
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

  /** The limits as `change` makes them of what they are; a live writer keeps to them soon. `not-found`. */
  async limit(name: string, change: (limits: QosLimits) => QosLimits): Promise<VolumeSpec> {
    return commitChange<VolumeSpec>(`limit volume "${name}"`, this.#deps, async () => {
      const entries = await this.findEntries(name);
      const { spec } = entries.state();
      const limited = { ...spec, qos: change(spec.qos) };
      const value = specCodec.encode(limited);
      if (entries.textOf("spec") === value) return { done: limited };
      return {
        guards: [entries.guard("spec")],
        changes: [{ kind: "put", key: volumeKey(spec.id, "spec"), value }],
        result: () => limited,
      };
    });
  }

  /** What goes with a head to give an attached volume another size: the spec, if it is as it was read, with that size. */
  resizing({ spec, revisions }: VolumeState, sizeBytes: number): HeadCompany {
    const key = volumeKey(spec.id, "spec");
    return {
      guards: [{ key, revision: revisions.spec }],
      changes: [{ kind: "put", key, value: specCodec.encode({ ...spec, sizeBytes }) }],
    };
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
