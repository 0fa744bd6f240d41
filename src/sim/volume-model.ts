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
import { ModelAttachment } from "./model-attachment.ts";
import type { Version } from "./model-version.ts";
import { describe, isBefore } from "./model-version.ts";

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
  flushedMs: 0,
};

const unflushed = { flushed: false, flushedMs: Number.POSITIVE_INFINITY };

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
  /** Units of it now. */
  units = Number.POSITIVE_INFINITY;
  /** It has had another size since it was made. */
  isResized = false;
  /** It is being made smaller: from this unit on it may be zeroes already, whatever is written there meanwhile. */
  #goingFrom = Number.POSITIVE_INFINITY;
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
    this.#zeroed(epoch, values.length);
    this.units = values.length;
  }

  /** From now on, until `resized` or `resizeFailed`, what is at or past `unit` may go. */
  resizing(unit: number): void {
    this.isResized = true;
    this.#goingFrom = unit;
    for (const { epoch } of this.#epochs.slice(-1)) this.#mayBeZero(epoch);
  }

  /** The writer of `epoch` committed that there are so many. What was past that is zeroes when there are more again. */
  resized(epoch: Epoch, units: number): void {
    if (units < this.units) this.#zeroed(epoch, units);
    this.units = units;
  }

  resizeEnded(): void {
    this.#goingFrom = Number.POSITIVE_INFINITY;
  }

  #zeroed(epoch: Epoch, from: number): void {
    for (const unit of this.#units.keys()) {
      if (unit < from) continue;
      const version = this.#push(unit, epoch, 0);
      version.answeredMs = version.issuedMs;
      this.flushed(unit, version);
    }
  }

  #mayBeZero(epoch: Epoch): void {
    for (const unit of this.#units.keys()) if (unit >= this.#goingFrom) this.#push(unit, epoch, 0);
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
      for (const version of epochs.get(epoch) ?? []) Object.assign(version, unflushed);
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
    this.#mayBeZero(epoch);
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
    const version = this.#push(unit, epoch, value);
    if (unit >= this.#goingFrom) this.#push(unit, epoch, 0);
    return version;
  }

  #push(unit: number, epoch: Epoch, value: number): Version {
    this.#order += 1;
    const issuedMs = this.deps.nowMs();
    const version: Version = {
      epoch,
      order: this.#order,
      value,
      issuedMs,
      answeredMs: Number.POSITIVE_INFINITY,
      ...unflushed,
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
    version.flushedMs = Math.min(version.flushedMs, this.deps.nowMs());
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
