// Session: one connection to a volume, from its opening to its end, and what a client does on it. First everything is read: what an
// attachment begins with must be a state that the history allows. Then writers, a reader and a flusher work until the connection ends
// or the session is paused. Nothing is sent twice: what was not answered when a connection ends is given up.

import { setTimeout as sleep } from "node:timers/promises";
import type { NbdClient } from "../system/nbd-client.ts";
import { NbdError } from "../system/nbd-client.ts";
import type { PageHistory } from "./page-history.ts";
import { pageBytes, Violation } from "./page-history.ts";
import type { StallTracker } from "./stalls.ts";

export interface SessionLoad {
  readonly writers: number;
  readonly writePagesMax: number;
  readonly readPagesMax: number;
  /** The longest each of them rests between two requests. */
  readonly writeRestMs: number;
  readonly readRestMs: number;
  readonly flushRestMs: number;
}

export const defaultLoad: SessionLoad = {
  writers: 4,
  writePagesMax: 8,
  readPagesMax: 16,
  writeRestMs: 60,
  readRestMs: 40,
  flushRestMs: 250,
};

export interface SessionDeps {
  readonly client: NbdClient;
  readonly history: PageHistory;
  readonly stalls: StallTracker;
  readonly roll: (below: number) => number;
  readonly counted: { writes: number; flushes: number; reads: number };
}

const verifyPages = 64;
const verifiersMax = 4;
/** Errors after which an attachment goes on. */
const enospc = 28;
const refusedRestMs = 100;

/** The connection ended, or every request of it fails. */
class Ended extends Error {}

export class Session {
  readonly #load: SessionLoad;
  readonly #deps: SessionDeps;
  readonly #busy = new Set<number>();
  #over = false;
  #verified = false;
  #pause: PromiseWithResolvers<void> | null = null;
  #underway = 0;

  constructor(load: SessionLoad, deps: SessionDeps) {
    this.#load = load;
    this.#deps = deps;
  }

  /** Verified from one end to the other, and at work. */
  get isWorking(): boolean {
    return this.#verified && !this.#over;
  }

  /** Resolves when the connection has ended or the session was given up. Rejects with a `Violation`. */
  async run(): Promise<void> {
    try {
      await this.verify();
      this.#deps.history.requireOrder();
      this.#verified = true;
      const writers = Array.from({ length: this.#load.writers }, () => this.#repeat(() => this.#write()));
      await Promise.all([
        ...writers,
        this.#repeat(() => this.#read()),
        this.#repeat(() => this.#flushAfterRest()),
      ]);
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
    } finally {
      this.#over = true;
    }
  }

  /** Nothing more is sent, and what is still answered counts for nothing. */
  giveUp(): void {
    this.#over = true;
    this.#pause?.resolve();
  }

  /** Resolves when nothing is under way any more, or false when the session ends before. Until `resume`, nothing begins. */
  async pause(): Promise<boolean> {
    this.#pause ??= Promise.withResolvers();
    while (this.#underway > 0 && !this.#over) await sleep(5);
    return !this.#over;
  }

  resume(): void {
    this.#pause?.resolve();
    this.#pause = null;
  }

  /** Reads every page. Only while nothing is written. */
  async verify(): Promise<void> {
    const { history } = this.#deps;
    let next = 0;
    const verifyNext = async (): Promise<void> => {
      while (next < history.pages) {
        const first = next;
        const count = Math.min(verifyPages, history.pages - first);
        next += count;
        await this.#readPages(first, count);
      }
    };
    await Promise.all(Array.from({ length: verifiersMax }, verifyNext));
  }

  async flush(): Promise<void> {
    const { client, history, stalls, counted } = this.#deps;
    const flush = history.flushSent();
    try {
      await this.#ask("write", () => client.flush());
    } catch (error) {
      if (!(error instanceof NbdError)) throw error;
      flush.failed();
      return;
    }
    flush.answered();
    stalls.answered("write");
    counted.flushes += 1;
  }

  async #repeat(step: () => Promise<void>): Promise<void> {
    while (!this.#over) {
      if (this.#pause !== null) {
        await this.#pause.promise;
        continue;
      }
      await step();
    }
  }

  async #write(): Promise<void> {
    const { client, history, stalls, roll, counted } = this.#deps;
    await sleep(roll(this.#load.writeRestMs));
    const range = this.#choose(this.#load.writePagesMax);
    if (range === null) return;
    const write = history.write(range.first, range.count);
    try {
      await this.#ask("write", () => client.write(range.first * pageBytes, write.bytes));
      history.answered(write);
      stalls.answered("write");
      counted.writes += 1;
    } catch (error) {
      if (!(error instanceof NbdError)) throw error;
      // A full cluster says so, and goes on.
      history.failed(write);
      await sleep(refusedRestMs);
    } finally {
      range.leave();
    }
  }

  async #read(): Promise<void> {
    const { roll } = this.#deps;
    await sleep(roll(this.#load.readRestMs));
    const range = this.#choose(this.#load.readPagesMax);
    if (range === null) return;
    try {
      await this.#readPages(range.first, range.count);
    } finally {
      range.leave();
    }
  }

  async #readPages(first: number, count: number): Promise<void> {
    const { client, history, stalls, counted } = this.#deps;
    const bytes = await this.#ask("read", () => client.read(first * pageBytes, count * pageBytes));
    history.found(first, bytes);
    stalls.answered("read");
    counted.reads += 1;
  }

  async #flushAfterRest(): Promise<void> {
    await sleep(this.#deps.roll(this.#load.flushRestMs));
    if (!this.#over && this.#pause === null) await this.flush();
  }

  /** Pages that nobody works on; null when those chosen are in use. */
  #choose(countMax: number): { first: number; count: number; leave(): void } | null {
    if (this.#over || this.#pause !== null) return null;
    const { history, roll } = this.#deps;
    const count = 1 + roll(countMax);
    const first = roll(history.pages - count + 1);
    const pages = Array.from({ length: count }, (_, i) => first + i);
    if (pages.some((page) => this.#busy.has(page))) return null;
    for (const page of pages) this.#busy.add(page);
    return {
      first,
      count,
      leave: () => {
        for (const page of pages) this.#busy.delete(page);
      },
    };
  }

  /** Asks, and rejects with `Ended` when nothing more can come of this session, or with the server's "no space". */
  async #ask<T>(direction: "read" | "write", request: () => Promise<T>): Promise<T> {
    if (this.#over) throw new Ended();
    this.#deps.stalls.asked(direction);
    this.#underway += 1;
    try {
      const answer = await request();
      // What a session that was given up is told counts for nothing.
      if (this.#over) throw new Ended();
      return answer;
    } catch (error) {
      if (error instanceof Violation) throw error;
      if (error instanceof NbdError && error.errno === enospc && !this.#over) throw error;
      this.#over = true;
      throw new Ended();
    } finally {
      this.#underway -= 1;
    }
  }
}
