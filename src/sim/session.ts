// Session: the users of one attachment of a volume under load, from a seed: writes of whole pages and of parts, trims, zeroes, reads and
// flushes, several at once. Every request and answer goes to the model.
//
// Requests that overlap another's units while that is unanswered may take effect in either order, so only plain writes, whose order is
// that of their calls, are let overlap. Different parts of one page are written at once as often as they come.

import type { Clock } from "#host";
import { sleep } from "#host";
import { isTorusError, messageOf, pageBytes } from "#model";
import type { AttachedVolume } from "#volume";
import type { ModelAttachment } from "./model-attachment.ts";
import type { SeededRandom } from "./random.ts";
import { unitBytes, unitContent, unitsPerPage } from "./unit-content.ts";
import type { VolumeModel } from "./volume-model.ts";
import type { World } from "./world.ts";

export interface WorkloadOptions {
  /** Requests at once. */
  readonly depth: number;
  /** Between two requests of one worker. */
  readonly thinkMsMax: number;
  readonly pagesMax: number;
  /** One request in so many is a flush. */
  readonly flushOneIn: number;
  /** Only one request in so many is more than a read; without it three in four are. */
  readonly changeOneIn?: number;
  /** How long a client keeps a volume. */
  readonly sessionMsMax: number;
}

export interface SessionDeps {
  readonly volume: AttachedVolume;
  readonly model: VolumeModel;
  readonly attachment: ModelAttachment;
  readonly random: SeededRandom;
  readonly clock: Clock;
  readonly world: World;
  readonly who: string;
}

interface InFlight {
  readonly kind: "write" | "zero";
  readonly first: number;
  readonly end: number;
}

const verifyUnits = 64 * unitsPerPage;

export class Session {
  readonly #options: WorkloadOptions;
  readonly #deps: SessionDeps;
  readonly #inFlight = new Set<InFlight>();
  readonly #pending = new Map<number, { readonly what: string; readonly sinceMs: number }>();
  #requests = 0;
  #lost = false;
  #stopped = false;

  constructor(options: WorkloadOptions, deps: SessionDeps) {
    this.#options = options;
    this.#deps = deps;
    void deps.volume.lost.then((error) => {
      this.#lost = true;
      deps.world.trace.add(deps.who, `${deps.model.name}: lost: ${error.message}`);
    });
  }

  get #units(): number {
    return this.#deps.volume.info.sizeBytes / unitBytes;
  }

  /** The oldest request without an answer. */
  oldestPending(): { readonly what: string; readonly sinceMs: number } | null {
    return this.#pending.values().next().value ?? null;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Reads all there is, then works until `untilMs`, `stop`, or the end of the attachment. */
  async run(untilMs: number): Promise<void> {
    const { random, clock } = this.#deps;
    if (random.oneIn(3)) await this.verify();
    const worker = async (): Promise<void> => {
      while (!this.#lost && !this.#stopped && clock.monotonicMs() < untilMs) {
        await this.#request();
        await sleep(clock, random.between(0, this.#options.thinkMsMax));
      }
    };
    await Promise.all(Array.from({ length: this.#options.depth }, worker));
    // Who has lost it asks again all the same, and must not be told that all is well.
    for (let i = 0; i < 3 && this.#lost; i++) await (i === 1 ? this.#read(0, 1) : this.#flush());
  }

  /** Reads the whole volume; false when some of it could not be read. */
  async verify(): Promise<boolean> {
    let whole = true;
    for (let first = 0; first < this.#units; first += verifyUnits)
      whole = (await this.#read(first, Math.min(verifyUnits, this.#units - first))) && whole;
    return whole;
  }

  /** Writes `part` of the volume, from its start, and flushes; false unless all of it was answered OK. */
  async rewrite(part: number): Promise<boolean> {
    let ok = true;
    const end = Math.ceil(this.#units * part);
    for (let first = 0; first < end; first += verifyUnits) {
      const count = Math.min(verifyUnits, end - first);
      ok = (await this.#write({ first, end: first + count }, false)) && ok;
    }
    return (await this.#flush()) && ok;
  }

  #request(): Promise<boolean> {
    const { random } = this.#deps;
    if (random.oneIn(this.#options.flushOneIn)) return this.#flush();
    const { changeOneIn } = this.#options;
    const kind = changeOneIn !== undefined && !random.oneIn(changeOneIn) ? 0 : random.uint32() % 100;
    const range = this.#range(kind % 3 === 0);
    if (kind < 25) return this.#read(range.first, range.end - range.first);
    if (kind < 85) return this.#free("write", range) ? this.#write(range, random.oneIn(12)) : this.#yield();
    if (!this.#free("zero", range)) return this.#yield();
    return kind < 93 ? this.#trim(range) : this.#zero(range);
  }

  /** A range of whole pages, or of units at any place. */
  #range(partial: boolean): { first: number; end: number } {
    const { random } = this.#deps;
    const pages = this.#units / unitsPerPage;
    // Half of all requests go to the same few pages: that is where overwriting shows.
    const page = random.oneIn(2) ? random.uint32() % Math.min(8, pages) : random.uint32() % pages;
    const count = Math.min(pages - page, random.between(1, this.#options.pagesMax));
    const first = page * unitsPerPage;
    const end = first + count * unitsPerPage;
    if (!partial) return { first, end };
    const from = first + (random.uint32() % unitsPerPage);
    return { first: from, end: Math.max(from + 1, end - (random.uint32() % unitsPerPage)) };
  }

  #free(kind: "write" | "zero", { first, end }: { first: number; end: number }): boolean {
    for (const other of this.#inFlight) {
      const overlaps = first < other.end && other.first < end;
      if (overlaps && (kind !== "write" || other.kind !== "write")) return false;
    }
    return true;
  }

  async #yield(): Promise<boolean> {
    await sleep(this.#deps.clock, 1);
    return false;
  }

  async #read(first: number, count: number): Promise<boolean> {
    const { volume, attachment } = this.#deps;
    const token = attachment.reading(first, count);
    return this.#settled(
      `read ${first}+${count}`,
      () => volume.read(first * unitBytes, count * unitBytes),
      (bytes) => attachment.read(token, bytes),
    );
  }

  async #write({ first, end }: { first: number; end: number }, fua: boolean): Promise<boolean> {
    const { volume, attachment, model } = this.#deps;
    const value = model.nextValue();
    const bytes = unitContent(model.volume, first, end - first, value);
    const entry: InFlight = { kind: "write", first, end };
    this.#inFlight.add(entry);
    const token = attachment.writing(first, end - first, value);
    const ok = await this.#settled(
      `write ${first}+${end - first}=${value}${fua ? " fua" : ""}`,
      () => volume.write(first * unitBytes, bytes, fua),
      () => attachment.wrote(token, fua),
    );
    this.#inFlight.delete(entry);
    return ok;
  }

  /** Partial pages at the ends are left alone. */
  async #trim({ first, end }: { first: number; end: number }): Promise<boolean> {
    const { volume } = this.#deps;
    const from = Math.ceil(first / unitsPerPage) * unitsPerPage;
    const to = Math.max(from, Math.floor(end / unitsPerPage) * unitsPerPage);
    return this.#zeroed("trim", from, to, () =>
      volume.trim(first * unitBytes, (end - first) * unitBytes, false),
    );
  }

  async #zero({ first, end }: { first: number; end: number }): Promise<boolean> {
    const { volume } = this.#deps;
    return this.#zeroed("zero", first, end, () =>
      volume.writeZeroes(first * unitBytes, (end - first) * unitBytes, false),
    );
  }

  async #zeroed(what: string, first: number, end: number, run: () => Promise<void>): Promise<boolean> {
    const { attachment } = this.#deps;
    const entry: InFlight = { kind: "zero", first, end };
    this.#inFlight.add(entry);
    const token = attachment.writing(first, end - first, 0);
    const ok = await this.#settled(`${what} ${first}+${end - first}`, run, () =>
      attachment.wrote(token, false),
    );
    this.#inFlight.delete(entry);
    return ok;
  }

  #flush(): Promise<boolean> {
    const { volume, attachment } = this.#deps;
    const token = attachment.flushing();
    return this.#settled(
      `flush of ${token.size}`,
      () => volume.flush(),
      () => attachment.flushed(token),
    );
  }

  /** Makes a request and tells the model how it ended. True for OK. */
  async #settled<Result>(
    what: string,
    run: () => Promise<Result>,
    ok: (result: Result) => void,
  ): Promise<boolean> {
    const { world, who, model, attachment } = this.#deps;
    this.#requests += 1;
    const number = this.#requests;
    const wasLost = this.#lost;
    const line = (how: string): void =>
      world.trace.add(who, `${model.name}@${attachment.epoch} #${number} ${what}${how}`);
    this.#pending.set(number, { what, sinceMs: world.clock.monotonicMs() });
    line("");
    try {
      const result = await run();
      line(": OK");
      if (wasLost) model.violate("lost is lost", `${what} was answered OK after the attachment was lost`);
      ok(result);
      world.counts.answered += 1;
      return true;
    } catch (error) {
      line(`: ${isTorusError(error) ? error.code : "?"} ${messageOf(error)}`);
      const isExpected =
        isTorusError(error, "attachment-lost", "closed", "full") ||
        // It became smaller meanwhile, and that part is not there any more.
        (model.isResized && isTorusError(error, "invalid-argument"));
      if (!isExpected) world.violateBy(error, `${who} ${model.name} ${what}`);
      if (isTorusError(error, "full")) world.counts.full += 1;
      if (isTorusError(error, "attachment-lost", "closed")) this.#lost = true;
      return false;
    } finally {
      this.#pending.delete(number);
    }
  }
}

/** Bytes of a volume of `pages`. */
export function volumeBytes(pages: number): number {
  return pages * pageBytes;
}
