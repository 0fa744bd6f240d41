// VolumeClient: who uses a volume, for as long as a run lasts. It works on one host; when that one's connection ends, or nothing
// comes from it for longer than it has patience, it goes to the next, as a virtual machine that is started elsewhere would. The old
// connection is kept for a while: what is written on it after the new one stands must never be promised to be kept.
//
// A connection stands once a write on it was flushed. That it was opened says little: a host that was frozen does not know yet that the
// volume was taken from it, and opens it to anyone. For this the last page of the volume is used, and for nothing else.

import { setTimeout as sleep } from "node:timers/promises";
import { NbdClient } from "../system/nbd-client.ts";
import type { PageHistory } from "./page-history.ts";
import { pageBytes, Violation } from "./page-history.ts";
import type { SessionLoad } from "./session.ts";
import { Session } from "./session.ts";
import type { Stalls, StallTracker } from "./stalls.ts";

export interface VolumeClientOptions {
  readonly load: SessionLoad;
  /** Unix sockets of the hosts' NBD servers, the preferred first. */
  readonly sockets: readonly string[];
  /** How long nothing may come before the next host is tried; rolled anew each time, up to this. */
  readonly patienceMsMax: number;
  /** `writeback`: a write may be answered before anybody else has heard of it. */
  readonly acknowledge: "replicated" | "writeback";
}

export interface VolumeClientDeps {
  readonly history: PageHistory;
  readonly stalls: Stalls;
  readonly roll: (below: number) => number;
  readonly say: (line: string) => void;
  /** Says that the volume's clients of before have ended, as an operator would (torusctl volume accept-loss). */
  readonly acceptLoss: (volume: string) => Promise<void>;
  readonly onViolation: (error: unknown) => void;
}

const patienceMsMin = 500;
const connectMsMax = 12_000;
const connectRestMs = 100;
/** How long a replaced connection is still asked. */
const replacedMs = 5000;
const replacedRestMs = 50;

export class VolumeClient {
  readonly counted = { writes: 0, flushes: 0, reads: 0, sessions: 0, replaced: 0, losses: 0 };
  readonly #options: VolumeClientOptions;
  readonly #deps: VolumeClientDeps;
  readonly #stalls: StallTracker;
  readonly #stop = new AbortController();
  readonly #old = new Set<Promise<void>>();
  #session: Session | null = null;
  #client: NbdClient | null = null;
  #path = "";
  /** Of the sockets, the one to be tried next. */
  #next = 0;
  #preferred: string | null = null;
  /** Since the last session, clients were cut off, and that was accepted. */
  #lossAccepted = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: VolumeClientOptions, deps: VolumeClientDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#stalls = deps.stalls.tracker();
  }

  get acknowledge(): "replicated" | "writeback" {
    return this.#options.acknowledge;
  }

  get volume(): string {
    return this.#deps.history.volume;
  }

  /** The server at which it uses the volume, or did last. */
  get path(): string {
    return this.#path;
  }

  start(): void {
    this.#running = this.#live().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#deps.onViolation(error);
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#session?.giveUp();
    this.#client?.destroy();
    await this.#running;
    await Promise.all(this.#old);
  }

  /** From now on it goes to this socket first, and at once; null: where it belongs. */
  prefer(socket: string | null): void {
    this.#preferred = socket;
  }

  /** Stops working, flushes, and reads everything back; then goes on. Tries as long as it takes, or rejects at `deadlineMs`. */
  async settle(deadlineMs: number): Promise<void> {
    for (;;) {
      const session = this.#session;
      if (session?.isWorking && (await session.pause()) && (await this.#check(session))) return;
      session?.resume();
      if (this.#stop.signal.aborted) return;
      if (performance.now() > deadlineMs) {
        throw new Violation(
          `volume ${this.#deps.history.volume} does not go on though every fault was undone`,
        );
      }
      await sleep(50);
    }
  }

  /** False when the session ended meanwhile. */
  async #check(session: Session): Promise<boolean> {
    try {
      await session.flush();
      await session.verify();
      return session.isWorking;
    } catch (error) {
      if (error instanceof Violation) throw error;
      return false;
    } finally {
      session.resume();
    }
  }

  async #live(): Promise<void> {
    const { history, roll } = this.#deps;
    let next: NbdClient | null = null;
    while (!this.#stop.signal.aborted) {
      const client: NbdClient | null = next ?? (await this.#connect(this.#stop.signal));
      next = null;
      if (client === null) return;
      this.#client = client;
      this.counted.sessions += 1;
      if (this.#lossAccepted) this.counted.losses += 1;
      else history.cameBack();
      this.#lossAccepted = false;
      const { counted } = this;
      const session = new Session(this.#options.load, {
        client,
        history,
        stalls: this.#stalls,
        roll,
        counted,
      });
      this.#session = session;
      const working = session.run();
      next = await this.#watch(client, working);
      session.giveUp();
      history.detached();
      if (next === null) client.destroy();
      else this.#replace(client);
      // In-flight requests of a replaced connection may never settle; what they would say counts for nothing.
      if (next === null) await working;
      else working.catch((error) => this.#deps.onViolation(error));
    }
  }

  /** Resolves with null when the session ended, or with a connection elsewhere that was opened meanwhile. */
  async #watch(client: NbdClient, working: Promise<void>): Promise<NbdClient | null> {
    const { roll, say, history } = this.#deps;
    const state = { ended: false };
    const ended = working.finally(() => {
      state.ended = true;
    });
    ended.catch(() => {});
    const patienceMs = patienceMsMin + roll(this.#options.patienceMsMax);
    const sinceMs = performance.now();
    while (!state.ended) {
      await Promise.race([ended, sleep(50)]);
      const quietMs = Math.max(this.#stalls.quietMs("read"), this.#stalls.quietMs("write"));
      const isWaiting =
        client.waiting > 0 && quietMs > patienceMs && performance.now() - sinceMs > patienceMs;
      if (state.ended || !(isWaiting || this.#preferred !== null)) continue;
      const path = this.#elsewhere();
      const other = await this.#openElsewhere(path, ended);
      if (other === null) continue;
      say(`${history.volume}: goes on at ${path}`);
      this.#path = path;
      this.#preferred = null;
      return other;
    }
    await ended;
    return null;
  }

  /** A connection to another host, while the present one says nothing. Null when that ends, or nobody takes the volume. */
  async #openElsewhere(path: string, ended: Promise<void>): Promise<NbdClient | null> {
    const giveUp = new AbortController();
    const signal = AbortSignal.any([giveUp.signal, this.#stop.signal, AbortSignal.timeout(connectMsMax)]);
    const stop = (): void => giveUp.abort();
    ended.then(stop, stop);
    try {
      return await this.#open(path, signal);
    } catch {
      await sleep(connectRestMs);
      return null;
    }
  }

  /** A connection that stands. Rejects when the server refuses it, cannot be reached, or `signal` says so before. */
  async #open(path: string, signal: AbortSignal): Promise<NbdClient> {
    const { history } = this.#deps;
    const client = await this.#enter(path, signal);
    const giveUp = (): void => client.destroy();
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      this.#stalls.asked("write");
      await client.write(history.pages * pageBytes, Buffer.alloc(pageBytes, path));
      await client.flush();
      this.#stalls.answered("write");
      signal.throwIfAborted();
      return client;
    } catch (error) {
      client.destroy();
      throw error;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  async #enter(path: string, signal: AbortSignal): Promise<NbdClient> {
    const { history, acceptLoss } = this.#deps;
    try {
      return await NbdClient.connect({ kind: "unix", path }, history.volume, signal);
    } catch (error) {
      if (/accept-loss/.test((error as Error).message)) {
        this.#lossAccepted = true;
        await acceptLoss(history.volume);
      }
      throw error;
    }
  }

  /** Tries one host after the other until one serves the volume. Null when the run is over. */
  async #connect(stop: AbortSignal): Promise<NbdClient | null> {
    while (!stop.aborted) {
      const path = this.#preferred ?? this.#options.sockets[this.#next];
      try {
        const signal = AbortSignal.any([stop, AbortSignal.timeout(connectMsMax)]);
        const client = await this.#open(path, signal);
        this.#path = path;
        this.#preferred = null;
        return client;
      } catch {
        if (this.#preferred === null) this.#step();
        this.#preferred = null;
        await sleep(connectRestMs);
      }
    }
    return null;
  }

  #step(): void {
    this.#next = (this.#next + 1) % this.#options.sockets.length;
  }

  /** A server that is not the one the volume is used at. */
  #elsewhere(): string {
    if (this.#preferred !== null) return this.#preferred;
    this.#step();
    if (this.#options.sockets[this.#next] === this.#path) this.#step();
    return this.#options.sockets[this.#next];
  }

  /** The volume has been opened elsewhere. */
  #replace(client: NbdClient): void {
    this.counted.replaced += 1;
    const asking = this.#askReplaced(client)
      .catch((error) => this.#deps.onViolation(error))
      .finally(() => {
        client.destroy();
        this.#old.delete(asking);
      });
    this.#old.add(asking);
  }

  /** A flush that covers none of these writes may succeed: what it covers is what the new writer began with. */
  async #askReplaced(client: NbdClient): Promise<void> {
    const { history, roll } = this.#deps;
    const endMs = performance.now() + replacedMs;
    let written = 0;
    let wrong: string | null = null;
    while (performance.now() < endMs && client.ended === null && wrong === null) {
      const page = roll(history.pages);
      client.write(page * pageBytes, history.forbidden(page)).then(
        () => {
          written += 1;
          if (this.#options.acknowledge === "replicated") wrong = `write to page ${page}`;
        },
        () => {},
      );
      const covered = written;
      client.flush().then(
        () => {
          if (covered > 0) wrong = "flush of what it wrote after that";
        },
        () => {},
      );
      await sleep(replacedRestMs);
    }
    if (wrong !== null)
      throw new Violation(`volume ${history.volume}: a replaced writer's ${wrong} was answered OK`);
  }
}
