// Deleting a volume, in three steps: its epoch is raised and its lease taken, so that no writer commits any more; the peers are
// fenced (by the caller); then its keys go and the tombstone comes. A deletion that failed half way is repeated from the start.
//
// Invariants: a volume in some clone's `bases` is not deleted, whatever is asked: with the tombstone its blocks would be garbage.
// Every creation changes the minter, so the burial guards it and no clone comes between the look and the act.

import type { Epoch } from "#model";
import { TorusError } from "#model";
import { behindGuard, behindRange, requireNotBehind } from "./behind-guard.ts";
import { volumesNaming } from "./clone-registry.ts";
import type { ChangeDeps, Decision } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import { minterKey, nameKey, tombstoneKey, volumeKey, volumesPrefix } from "./keys.ts";
import type { TombstoneRecord, VolumeState } from "./records.ts";
import { nameCodec, tombstoneCodec, writerCodec } from "./records-codec.ts";
import type { Change, Guard, KeyValue } from "./service.ts";
import { transactionGuardsMax } from "./service-limits.ts";
import type { VolumeEntries } from "./volume-entries.ts";
import { groupVolumes, isAttached } from "./volume-entries.ts";

export interface VolumeDeletion {
  /** Also while a writer lives, and with snapshots. */
  readonly force: boolean;
  /** Its snapshots may go with it. */
  readonly snapshots?: boolean;
  /** Tells every peer that may hold the volume to refuse anything below `epoch`; rejects when one cannot be told. */
  fence(state: VolumeState, epoch: Epoch): Promise<void>;
}

export interface VolumeBurialDeps extends ChangeDeps {
  readonly findEntries: (name: string) => Promise<VolumeEntries>;
}

/** Keys of a volume besides its snapshots and requests, its name, the minter and the tombstone, with some to spare. */
const otherGuards = 20;

export class VolumeBurial {
  readonly #name: string;
  readonly #what: string;
  readonly #options: VolumeDeletion;
  readonly #deps: VolumeBurialDeps;
  readonly #token: string;

  constructor(name: string, options: VolumeDeletion, deps: VolumeBurialDeps) {
    this.#name = name;
    this.#what = `delete volume "${name}"`;
    this.#options = options;
    this.#deps = deps;
    this.#token = deps.random.uuid();
  }

  async run(): Promise<TombstoneRecord> {
    const entries = await this.#raise();
    const state = entries.state();
    const { epoch } = state.writer;
    await this.#options.fence(state, epoch);
    const tombstone: TombstoneRecord = {
      id: state.spec.id,
      name: state.spec.name,
      epoch,
      token: this.#token,
      deletedMs: this.#deps.clock.wallMs(),
    };
    const writer = entries.guard("writer");
    while (!(await this.#bury(tombstone, writer)));
    return tombstone;
  }

  /** First step: takes an epoch nobody will write with and the lease away. The entries as they are afterwards. */
  #raise(): Promise<VolumeEntries> {
    return commitChange<VolumeEntries>(this.#what, this.#deps, async (uncertain) => {
      const entries = await this.#deps.findEntries(this.#name);
      const { spec, writer } = entries.state();
      const owner = `delete ${this.#token}`;
      if (uncertain && writer.owner === owner) return { done: entries };
      this.#requireFree(entries);
      const { ranges } = await this.#deps.service.read([{ prefix: volumesPrefix }, behindRange]);
      requireNotBehind(ranges[1]);
      requireNoClones(entries, ranges[0]);
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

  /** Last step: removes what one transaction can, snapshots first, and with the last of it writes the tombstone. True when that is done. */
  #bury(tombstone: TombstoneRecord, writer: Guard): Promise<boolean> {
    const { id, name } = tombstone;
    return commitChange<boolean>(this.#what, this.#deps, async (uncertain) => {
      const { ranges } = await this.#deps.service.read([
        { prefix: volumesPrefix },
        { key: nameKey(name) },
        { key: tombstoneKey(id) },
        { key: minterKey },
        behindRange,
      ]);
      requireNotBehind(ranges[4]);
      const entries = groupVolumes(ranges[0]).find((group) => group.id === id);
      if (entries === undefined) return { done: this.#requireOwnGrave(ranges[2].at(0), uncertain) };
      if (entries.revisionOf("writer") !== writer.revision) {
        throw new TorusError(
          "busy",
          `volume "${name}" was attached while it was being deleted: detach it and delete again`,
        );
      }
      this.#requireFree(entries);
      requireNoClones(entries, ranges[0]);
      const minter = { key: minterKey, revision: ranges[3].at(0)?.modRevision ?? 0 };
      const guards = [writer, minter, behindGuard];
      const extra = entries.extra().slice(0, transactionGuardsMax - otherGuards);
      if (extra.length < entries.extra().length) return removal(extra, guards, false);
      return this.#lastTransaction(tombstone, entries, ranges[1].at(0), guards);
    });
  }

  #lastTransaction(
    tombstone: TombstoneRecord,
    entries: VolumeEntries,
    taken: KeyValue | undefined,
    guards: readonly Guard[],
  ): Decision<boolean> {
    const gone = entries.all();
    if (taken !== undefined && nameCodec.decode(taken.key, taken.value).id === tombstone.id) gone.push(taken);
    const { id } = tombstone;
    const put: Change = { kind: "put", key: tombstoneKey(id), value: tombstoneCodec.encode(tombstone) };
    return removal(gone, guards, true, put);
  }

  #requireOwnGrave(grave: KeyValue | undefined, uncertain: boolean): true {
    const buried = grave === undefined ? null : tombstoneCodec.decode(grave.key, grave.value);
    if (uncertain && buried?.token === this.#token) return true;
    throw new TorusError("conflict", `volume "${this.#name}" was deleted by someone else at the same time`);
  }

  /** `busy` while a lease lives, or while snapshots would go with the volume unasked. */
  #requireFree(entries: VolumeEntries): void {
    const { force, snapshots: withSnapshots = false } = this.#options;
    if (force) return;
    const state = entries.state();
    const { name } = state.spec;
    if (isAttached(state)) {
      throw new TorusError(
        "busy",
        `volume "${name}" is attached by ${state.lease?.holder}: detach it first, or use --force to cut it off`,
        { holder: state.lease?.holder ?? "" },
      );
    }
    const snapshots = state.snapshots.map((snapshot) => snapshot.name);
    if (snapshots.length > 0 && !withSnapshots) {
      throw new TorusError(
        "busy",
        `volume "${name}" has snapshots (${someOf(snapshots)}): delete them first, or use --snapshots to lose them too`,
        { snapshots },
      );
    }
  }
}

/** `all`: every entry below `volumes/`. Also by force: a clone's blocks would be lost. */
function requireNoClones({ id }: VolumeEntries, all: readonly KeyValue[]): void {
  const volumes = groupVolumes(all).map((entries) => entries.state());
  const named = volumesNaming(volumes, id).filter(({ spec }) => spec.id !== id);
  if (named.length === 0) return;
  const name = volumes.find(({ spec }) => spec.id === id)?.spec.name ?? String(id);
  const clones = named.map(({ spec }) => spec.name).sort();
  throw new TorusError(
    "busy",
    `clones need blocks of volume "${name}" (${someOf(clones)}): delete them, or torusctl volume flatten them first`,
    { clones },
  );
}

function someOf(names: readonly string[]): string {
  return names.length <= 5
    ? names.join(", ")
    : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
}

/** Removes each of `gone` by its full name, as it was read. */
function removal(
  gone: readonly KeyValue[],
  guards: readonly Guard[],
  isLast: boolean,
  ...more: readonly Change[]
): Decision<boolean> {
  const known = new Set(guards.map(({ key }) => key));
  const own = gone.filter(({ key }) => !known.has(key));
  return {
    guards: [...guards, ...own.map(({ key, modRevision }) => ({ key, revision: modRevision }))],
    changes: [...gone.map(({ key }): Change => ({ kind: "delete", key })), ...more],
    result: () => isLast,
  };
}
