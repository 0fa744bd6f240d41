// Adoption of metadata that went back [C7]. The metadata says how often it was adopted (its generation), who noticed that it is behind (the
// alarm), and peers compare what it shows with what they remember. Adopting raises every number above all that peers report, so that
// none is used twice, and begins a new generation, which is how peers know that the metadata they see is meant.
//
// Steps, each a guarded transaction that may be repeated: the alarm is raised, and nobody attaches, creates or deletes any more; epochs
// rise, some volumes at a time; minter, ring and generation last, which takes the alarm away. Who stopped half way begins again.

import type { Epoch, FenceBasis, MetadataView, PeerId, VolumeId } from "#model";
import { TorusError } from "#model";
import type { AdoptionPlan, VolumeRise } from "./adoption-plan.ts";
import type { ChangeDeps, Decision } from "./guarded-change.ts";
import { commitChange } from "./guarded-change.ts";
import {
  adoptionKey,
  behindKey,
  minterKey,
  parseTombstoneKey,
  parseVolumeKey,
  ringKey,
  ringVersionKey,
  tombstonesPrefix,
  volumeKey,
  volumePrefix,
  volumesPrefix,
} from "./keys.ts";
import { basisOf, generationOf, viewIn, viewRanges } from "./metadata-view.ts";
import type { BehindRecord, VolumeState } from "./records.ts";
import {
  adoptedCodec,
  adoptionCodec,
  behindCodec,
  minterCodec,
  ringCodec,
  ringPointerCodec,
  tombstoneCodec,
  writerCodec,
} from "./records-codec.ts";
import type { Change, Guard, KeyValue } from "./service.ts";
import { historyCodec } from "./snapshot-codec.ts";
import { VolumeEntries } from "./volume-entries.ts";

export interface MetadataLook {
  readonly view: MetadataView;
  readonly alarm: BehindRecord | null;
}

/** A look at every volume, too. */
export interface CloseLook extends MetadataLook {
  /** Of every volume, and of every tombstone. */
  readonly epochs: ReadonlyMap<VolumeId, Epoch>;
}

/** Volumes of one transaction: four changes and a guard each. */
const batchVolumes = 40;

const lookRanges = [...viewRanges, { key: behindKey }] as const;

export class AdoptionRegistry {
  readonly #deps: ChangeDeps;

  constructor(deps: ChangeDeps) {
    this.#deps = deps;
  }

  /** The metadata as peers compare it; `not-found` when there is no cluster. */
  async look(): Promise<MetadataLook> {
    const { revision, ranges } = await this.#deps.service.read(lookRanges);
    return this.#lookAt(revision, ranges);
  }

  /** A volume, and what a fence that is decided by it says; `not-found` without it. */
  async lookAtVolume(id: VolumeId): Promise<{ readonly state: VolumeState; readonly basis: FenceBasis }> {
    const { service } = this.#deps;
    const { revision, ranges } = await service.read([...viewRanges, { prefix: volumePrefix(id) }]);
    if (ranges[viewRanges.length].length === 0)
      throw new TorusError("not-found", `there is no volume with id ${id}`);
    const entries = new Map(ranges.flat().map((entry) => [entry.key, entry]));
    const state = new VolumeEntries(id, ranges[viewRanges.length]).state();
    return { state, basis: basisOf(state, viewIn(service, revision, entries)) };
  }

  async lookClosely(): Promise<CloseLook> {
    const { revision, ranges } = await this.#deps.service.read([
      ...lookRanges,
      { prefix: volumesPrefix },
      { prefix: tombstonesPrefix },
    ]);
    const epochs = new Map<VolumeId, Epoch>();
    for (const { key, value } of ranges[lookRanges.length]) {
      const parsed = parseVolumeKey(key);
      if (parsed?.part === "writer") epochs.set(parsed.id, writerCodec.decode(key, value).epoch);
    }
    for (const { key, value } of ranges[lookRanges.length + 1]) {
      const id = parseTombstoneKey(key);
      if (id !== null) epochs.set(id, tombstoneCodec.decode(key, value).epoch);
    }
    return { ...this.#lookAt(revision, ranges), epochs };
  }

  #lookAt(revision: number, ranges: readonly (readonly KeyValue[])[]): MetadataLook {
    const looked = ranges.slice(0, lookRanges.length).flat();
    const entries = new Map(looked.map((entry) => [entry.key, entry]));
    const alarm = entries.get(behindKey);
    return {
      view: viewIn(this.#deps.service, revision, entries),
      alarm: alarm === undefined ? null : behindCodec.decode(alarm.key, alarm.value),
    };
  }

  /**
   * Raises the alarm, unless somebody has: until an adoption nobody attaches, creates, deletes or changes the ring. `generation` is of the metadata that
   * was found to be behind: what is adopted meanwhile is not accused, also not by a transaction that comes late.
   */
  async report(reason: string, noticedBy: string, generation: number): Promise<void> {
    const { service, clock } = this.#deps;
    await commitChange("say that the metadata went back", this.#deps, async () => {
      const { ranges } = await service.read([{ key: behindKey }, { key: adoptionKey }]);
      const [known, adoption] = ranges.map((entries) => entries.at(0));
      if (known !== undefined || generationOf(adoption) !== generation) return { done: undefined };
      const noticedMs = clock.wallMs();
      const value = behindCodec.encode({ reason: reason.slice(0, reasonCharsMax), noticedBy, noticedMs });
      return {
        guards: [
          { key: behindKey, revision: 0 },
          { key: adoptionKey, revision: adoption?.modRevision ?? 0 },
        ],
        changes: [{ kind: "put", key: behindKey, value }],
        result: () => undefined,
      };
    });
  }

  /**
   * Carries out `plan`, which must have been made after the alarm was raised. `without`: peers that are lost. Rejects with `conflict` when
   * the alarm is gone: somebody else adopted the metadata.
   */
  async adopt(plan: AdoptionPlan, without: readonly PeerId[]): Promise<void> {
    for (let from = 0; from < plan.volumes.length; from += batchVolumes) {
      const batch = plan.volumes.slice(from, from + batchVolumes);
      await commitChange("raise epochs", this.#deps, () => this.#decideRise(batch, plan, without));
    }
    await commitChange("adopt the metadata", this.#deps, (uncertain) => this.#decideEnd(plan, uncertain));
  }

  async #decideRise(
    batch: readonly VolumeRise[],
    plan: AdoptionPlan,
    without: readonly PeerId[],
  ): Promise<Decision<void>> {
    const keys = batch.flatMap(({ id }) => [volumeKey(id, "writer"), volumeKey(id, "history")]);
    const { ranges } = await this.#deps.service.read([{ key: behindKey }, ...keys.map((key) => ({ key }))]);
    const guards: Guard[] = [requireAlarm(ranges[0])];
    const changes: Change[] = [];
    for (const [at, { id, toEpoch }] of batch.entries()) {
      const [entry, history] = [ranges[2 * at + 1].at(0), ranges[2 * at + 2].at(0)];
      // It was deleted before the alarm was raised, and the plan is of before that.
      if (entry === undefined) throw changed();
      if (writerCodec.decode(entry.key, entry.value).epoch >= toEpoch) continue;
      guards.push({ key: entry.key, revision: entry.modRevision });
      const adopted = { generation: plan.generation.to, epoch: toEpoch, without };
      changes.push(
        { kind: "put", key: entry.key, value: writerCodec.encode({ epoch: toEpoch, owner: "" }) },
        { kind: "put", key: volumeKey(id, "adopted"), value: adoptedCodec.encode(adopted) },
        { kind: "delete", key: volumeKey(id, "lease") },
        { kind: "delete", key: volumeKey(id, "status") },
      );
      // Its points may have passed, and their blocks been collected, in the time that is not known any more.
      if (history !== undefined) {
        const { keepMs } = historyCodec.decode(history.key, history.value);
        guards.push({ key: history.key, revision: history.modRevision });
        changes.push({ kind: "put", key: history.key, value: historyCodec.encode({ keepMs, points: [] }) });
      }
    }
    return changes.length === 0 ? { done: undefined } : { guards, changes, result: () => undefined };
  }

  async #decideEnd(plan: AdoptionPlan, uncertain: boolean): Promise<Decision<void>> {
    const { service, clock } = this.#deps;
    const { ranges } = await service.read([
      { key: behindKey },
      { key: adoptionKey },
      { key: minterKey },
      { key: ringKey },
    ]);
    const [, adoption, minter, pointer] = ranges.map((entries) => entries.at(0));
    if (uncertain && generationOf(adoption) === plan.generation.to) return { done: undefined };
    const alarm = requireAlarm(ranges[0]);
    if (minter === undefined || pointer === undefined) throw changed();
    const inForce = ringPointerCodec.decode(pointer.key, pointer.value).version;
    const current = (await service.read([{ key: ringVersionKey(inForce) }])).ranges[0].at(0);
    if (current === undefined) throw changed();
    const version = Math.max(plan.ring.to, inForce + 1);
    const ring = { ...ringCodec.decode(current.key, current.value), version };
    const record = {
      generation: plan.generation.to,
      adoptedMs: clock.wallMs(),
      identity: service.identity,
    };
    return {
      guards: [
        alarm,
        { key: adoptionKey, revision: adoption?.modRevision ?? 0 },
        { key: minterKey, revision: minter.modRevision },
        { key: ringKey, revision: pointer.modRevision },
        { key: ringVersionKey(version), revision: 0 },
      ],
      changes: [
        { kind: "put", key: adoptionKey, value: adoptionCodec.encode(record) },
        { kind: "put", key: minterKey, value: minterCodec.encode({ lastVolumeId: plan.minter.to }) },
        { kind: "put", key: ringVersionKey(version), value: ringCodec.encode(ring) },
        { kind: "put", key: ringKey, value: ringPointerCodec.encode({ version }) },
        { kind: "delete", key: behindKey },
      ],
      result: () => undefined,
    };
  }
}

const reasonCharsMax = 900;

function requireAlarm(entries: readonly KeyValue[]): Guard {
  const alarm = entries.at(0);
  if (alarm === undefined) throw changed();
  return { key: behindKey, revision: alarm.modRevision };
}

function changed(): TorusError {
  return new TorusError("conflict", "the metadata changed while it was adopted: look at it again");
}
