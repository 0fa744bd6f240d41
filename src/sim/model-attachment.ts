// ModelAttachment: what one attachment of a volume may show to its user, and what follows from what it showed (volume-model.ts).

import type { Epoch } from "#model";
import type { Version } from "./model-version.ts";
import { describe, isBefore } from "./model-version.ts";
import { unitBytes, unitValue } from "./unit-content.ts";
import type { VolumeModel } from "./volume-model.ts";

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
