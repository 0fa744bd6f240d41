// VolumeModel: what a volume may show, unit by unit, whoever writes it. It hears of every request and every answer, and knows
// what the design promises (docs/design.md §3, §5):
// - within one attachment a read returns the last answered write, or one that was issued since;
// - an attachment starts from one state of those before it: no older than the last flush answered in them, also when that answer
//   came late, and with nothing that was issued after it had begun;
// - who used an older attachment outlives it and comes back (docs/design.md §5, "A client's session"): unless an attachment says that such
//   clients are cut off, they go on with it, and all that was ever answered to them is there, flushed or not [C2];
// - a writer that was replaced gets no OK for what it was given after that;
// - unless somebody forced his way in, nobody reads what a newer writer has overwritten;
// - when metadata that went back was adopted, what was written in epochs after that of its head is gone, whole, and all else holds [C7]; but whoever
//   served in such an epoch took over the end of the log before, and let its blocks go: of that, only what the head's checkpoint has is certain.

import type { Epoch } from "#model";
import { unitBytes, unitValue } from "./unit-content.ts";

/** One write of one unit. Ordered by epoch, then `order`. */
export interface Version {
  readonly epoch: Epoch;
  readonly order: number;
  readonly value: number;
  readonly issuedMs: number;
  /** When it was answered; infinite before. */
  answeredMs: number;
  flushed: boolean;
}

interface AttachedEpoch {
  readonly epoch: Epoch;
  readonly attachedMs: number;
  readonly forced: boolean;
}

export interface VolumeModelDeps {
  readonly nowMs: () => number;
  readonly violate: (rule: string, message: string) => void;
}

const zero: Version = {
  epoch: 0,
  order: 0,
  value: 0,
  issuedMs: 0,
  answeredMs: 0,
  flushed: true,
};

function isBefore(a: Version, b: Version): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.order < b.order);
}

/** What one attachment showed first of units it had not written: which of the older versions it can have been. */
type Base = Map<number, Version[]>;

export class VolumeModel {
  readonly name: string;
  readonly volume: number;
  readonly isReplicated: boolean;
  readonly deps: VolumeModelDeps;
  readonly #units = new Map<number, Map<Epoch, Version[]>>();
  readonly #bases = new Map<Epoch, Base>();
  /** Those whose users still go on, the one that serves last. */
  #attachments: ModelAttachment[] = [];
  #epochs: AttachedEpoch[] = [];
  #order = 0;
  isClone = false;
  /** It may be that nobody can have it any more: metadata was adopted that lost something of it. */
  mayBeGone = false;
  /** Shared with clones, whose content is of both. */
  #values: { last: number } = { last: 0 };

  constructor(
    options: { readonly name: string; readonly volume: number; readonly isReplicated: boolean },
    deps: VolumeModelDeps,
  ) {
    this.name = options.name;
    this.volume = options.volume;
    this.isReplicated = options.isReplicated;
    this.deps = deps;
  }

  /** A value no write had before. */
  nextValue(): number {
    this.#values.last += 1;
    return this.#values.last;
  }

  /** The model of a clone. Nothing is known of it yet. */
  cloned(name: string): VolumeModel {
    const { volume, isReplicated, deps } = this;
    const clone = new VolumeModel({ name, volume, isReplicated }, deps);
    clone.#values = this.#values;
    clone.isClone = true;
    return clone;
  }

  knows(epoch: Epoch): boolean {
    return this.#epochs.some((other) => other.epoch === epoch);
  }

  /** Whose log had what was written at `atMs`: the attachment that served last by then; null when nobody had. */
  epochAt(atMs: number): Epoch | null {
    return this.#epochs.findLast(({ attachedMs }) => attachedMs <= atMs)?.epoch ?? null;
  }

  /** In `epoch`, which nobody writes in, the whole volume became `values`, for good. Nobody goes on who used it before. */
  became(epoch: Epoch, values: readonly number[]): void {
    for (const attachment of this.#attachments) attachment.replaced(true);
    this.#attachments = [];
    for (const [unit, value] of values.entries()) {
      const version = this.add(unit, epoch, value);
      version.answeredMs = version.issuedMs;
      version.flushed = true;
    }
  }

  /** Metadata was adopted whose head is of `epoch`. Nobody goes on who used the volume before. */
  wentBack(epoch: Epoch): void {
    for (const attachment of this.#attachments) attachment.replaced(true);
    this.#attachments = [];
    const isEndUnsure = this.#epochs.some((other) => other.epoch > epoch);
    for (const { epoch: lost } of this.#epochs) if (lost > epoch) this.#bases.delete(lost);
    this.#epochs = this.#epochs.filter((other) => other.epoch <= epoch);
    if (!isEndUnsure) return;
    for (const epochs of this.#units.values())
      for (const version of epochs.get(epoch) ?? []) version.flushed = false;
  }

  /** A client says that it serves the volume in `epoch` from now on, also those who used it before unless they are `cutOff`. */
  attached(epoch: Epoch, forced: boolean, cutOff: boolean): ModelAttachment {
    if (this.#epochs.some((other) => other.epoch === epoch))
      this.violate("one writer", `epoch ${epoch} was attached twice`);
    this.#epochs.push({ epoch, attachedMs: this.deps.nowMs(), forced });
    this.#epochs.sort((a, b) => a.epoch - b.epoch);
    this.#bases.set(epoch, new Map());
    for (const older of this.#attachments) if (older.epoch < epoch) older.replaced(cutOff);
    const attachment = new ModelAttachment(epoch, this);
    this.#attachments = [...this.#attachments.filter((other) => !other.isCutOff), attachment];
    return attachment;
  }

  violate(rule: string, message: string): void {
    this.deps.violate(rule, `volume ${this.name}: ${message}`);
  }

  /** Writes of `unit` in `epoch`, in the order they were issued. */
  versions(unit: number, epoch: Epoch): Version[] {
    return this.#units.get(unit)?.get(epoch) ?? [];
  }

  add(unit: number, epoch: Epoch, value: number): Version {
    this.#order += 1;
    const issuedMs = this.deps.nowMs();
    const version: Version = {
      epoch,
      order: this.#order,
      value,
      issuedMs,
      answeredMs: Number.POSITIVE_INFINITY,
      flushed: false,
    };
    let epochs = this.#units.get(unit);
    if (epochs === undefined) {
      epochs = new Map();
      this.#units.set(unit, epochs);
    }
    const own = epochs.get(epoch);
    if (own === undefined) epochs.set(epoch, [version]);
    else own.push(version);
    return version;
  }

  /** What `unit` may have been when `epoch` began. */
  base(unit: number, epoch: Epoch): Version[] {
    const pinned = this.#bases.get(epoch)?.get(unit);
    if (pinned !== undefined) return pinned;
    const attachedMs = this.#epochs.find((other) => other.epoch === epoch)?.attachedMs ?? 0;
    const found: Version[] = [];
    for (let i = this.#epochs.length - 1; i >= 0; i--) {
      const older = this.#epochs[i].epoch;
      if (older >= epoch) continue;
      const own = this.versions(unit, older);
      const flushed = own.findLastIndex((version) => version.flushed);
      for (const version of own.slice(Math.max(0, flushed)))
        if (version.issuedMs <= attachedMs) found.push(version);
      if (flushed !== -1) return found;
      const base = this.#bases.get(older)?.get(unit);
      if (base !== undefined) return [...found, ...base];
    }
    return [...found, zero];
  }

  /** `unit` was seen as it was when `epoch` began: it was one of `versions`. */
  pin(unit: number, epoch: Epoch, versions: Version[]): void {
    this.#bases.get(epoch)?.set(unit, versions);
  }

  /** A flush that covers `version` was answered. */
  flushed(unit: number, version: Version): void {
    version.flushed = true;
    for (const { epoch } of this.#epochs) {
      const base = epoch > version.epoch ? this.#bases.get(epoch)?.get(unit) : undefined;
      if (base === undefined) continue;
      const left = base.filter((candidate) => !isBefore(candidate, version));
      this.#bases.get(epoch)?.set(unit, left);
      if (left.length > 0) continue;
      const what = `unit ${unit}: a flush of value ${version.value} was answered in epoch ${version.epoch}`;
      this.violate("flushed data", `${what}, but epoch ${epoch} began with ${describe(base)}`);
      return;
    }
  }

  /** The first attachment that replaced `epoch`, if it served before `atMs`. */
  replacedBefore(epoch: Epoch, atMs: number): AttachedEpoch | undefined {
    return this.#epochs.find((other) => other.epoch > epoch && other.attachedMs < atMs);
  }

  /** A write of `unit` answered before `atMs` in an epoch after `epoch`, where nobody forced his way in. */
  overwrittenBefore(unit: number, epoch: Epoch, atMs: number): Version | undefined {
    const later = this.#epochs.filter((other) => other.epoch > epoch);
    if (later.some(({ forced }) => forced)) return undefined;
    for (const { epoch: newer } of later) {
      const version = this.versions(unit, newer).find(({ answeredMs }) => answeredMs < atMs);
      if (version !== undefined) return version;
    }
    return undefined;
  }
}

/** What a flush covers: of each unit the newest answered write. */
export type FlushToken = ReadonlyMap<number, Version>;

export interface WriteToken {
  readonly first: number;
  readonly versions: readonly Version[];
}

export interface ReadToken {
  readonly first: number;
  readonly startedMs: number;
  /** Of each unit the order of the newest write it must show; 0 for none of this attachment. */
  readonly least: readonly number[];
}

/** One attachment of a volume, as its user sees it. */
export class ModelAttachment {
  readonly epoch: Epoch;
  readonly #model: VolumeModel;
  /** Of each unit the newest write answered or read. */
  readonly #seen = new Map<number, number>();
  readonly #unflushed = new Map<number, Version>();
  /** Its users went on with a newer one: what they are answered is kept. */
  #isCarriedOver = false;
  #isCutOff = false;

  constructor(epoch: Epoch, model: VolumeModel) {
    this.epoch = epoch;
    this.#model = model;
  }

  get isCutOff(): boolean {
    return this.#isCutOff;
  }

  /** A newer attachment serves. */
  replaced(cutOff: boolean): void {
    if (cutOff) this.#isCutOff = true;
    if (this.#isCutOff) return;
    this.#isCarriedOver = true;
    for (const [unit, version] of this.#unflushed) this.#model.flushed(unit, version);
    this.#unflushed.clear();
  }

  /** Units [first, first + count) are about to be written. */
  writing(first: number, count: number, value: number): WriteToken {
    const versions = Array.from({ length: count }, (_, i) => this.#model.add(first + i, this.epoch, value));
    return { first, versions };
  }

  /** The write was answered OK; with `durable`, as one that survives. */
  wrote({ first, versions }: WriteToken, durable: boolean): void {
    for (const [i, version] of versions.entries()) {
      version.answeredMs = this.#model.deps.nowMs();
      this.#saw(first + i, version.order);
      const known = this.#unflushed.get(first + i);
      if (known === undefined || isBefore(known, version)) this.#unflushed.set(first + i, version);
      if (durable || this.#model.isReplicated) this.#requireTimely(first + i, version);
      // An answer that comes late is one like any other: it was given for what the newer attachment found.
      if (durable || (this.#isCarriedOver && !this.#isCutOff)) this.#model.flushed(first + i, version);
    }
  }

  flushing(): FlushToken {
    return new Map(this.#unflushed);
  }

  /** The flush was answered OK. */
  flushed(token: FlushToken): void {
    for (const [unit, version] of token) {
      this.#requireTimely(unit, version);
      this.#model.flushed(unit, version);
      if (this.#unflushed.get(unit) === version) this.#unflushed.delete(unit);
    }
  }

  reading(first: number, count: number): ReadToken {
    const least = Array.from({ length: count }, (_, i) => this.#seen.get(first + i) ?? 0);
    return { first, least, startedMs: this.#model.deps.nowMs() };
  }

  /** The read was answered with `bytes`. */
  read({ first, least, startedMs }: ReadToken, bytes: Uint8Array): void {
    if (bytes.length !== least.length * unitBytes) {
      this.#model.violate("reads", `${bytes.length} bytes were read, ${least.length * unitBytes} asked for`);
      return;
    }
    for (const [i, low] of least.entries()) {
      const unit = first + i;
      const value = unitValue(bytes, i * unitBytes, this.#model.volume, unit);
      if (value === null) {
        this.#model.violate("reads", `unit ${unit} reads as bytes nobody wrote (epoch ${this.epoch})`);
        return;
      }
      this.#judge(unit, value, low);
      const newer = this.#model.overwrittenBefore(unit, this.epoch, startedMs);
      if (newer !== undefined)
        this.#model.violate(
          "fresh reads",
          `unit ${unit} was read in epoch ${this.epoch} after ${describe([newer])} was answered`,
        );
    }
  }

  #judge(unit: number, value: number, low: number): void {
    const own = this.#model.versions(unit, this.epoch);
    const match = own.find((version) => version.value === value && version.order >= low);
    const base = low > 0 ? [] : this.#model.base(unit, this.epoch);
    const same = base.filter((version) => version.value === value);
    if (match !== undefined) {
      if (same.length === 0) this.#saw(unit, match.order);
      return;
    }
    if (same.length > 0) {
      this.#model.pin(unit, this.epoch, same);
      return;
    }
    const allowed = describe([...base, ...own.filter((version) => version.order >= low)]);
    this.#model.violate(
      low > 0 ? "reads" : "flushed data",
      `unit ${unit} reads as value ${value} in epoch ${this.epoch}, allowed: ${allowed}`,
    );
  }

  #saw(unit: number, order: number): void {
    if (order > (this.#seen.get(unit) ?? 0)) this.#seen.set(unit, order);
  }

  #requireTimely(unit: number, version: Version): void {
    const newer = this.#model.replacedBefore(this.epoch, version.issuedMs);
    if (newer === undefined) return;
    const what = `unit ${unit}, value ${version.value}, issued in epoch ${this.epoch}`;
    this.#model.violate("one writer", `${what} after epoch ${newer.epoch} served, was answered OK`);
  }
}

function describe(versions: readonly Version[]): string {
  return versions
    .map(({ value, epoch, flushed, answeredMs }) => {
      const state = flushed ? "flushed" : Number.isFinite(answeredMs) ? "answered" : "unanswered";
      return `value ${value} of epoch ${epoch} (${state})`;
    })
    .join(", ");
}
