// For tests of torusblk: time that stands still, volumes in memory, a process's surroundings without the process.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock, Log, Timer } from "#host";
import { Metrics } from "#host";
import { systemClock, systemRandom } from "#host/node";
import type { CutRecord } from "#metadata";
import type { TorusError } from "#model";
import type { AttachedVolume, SnapshotSummary, VolumeCatalog } from "#volume";
import { MemoryDevice } from "#volume";
import type { GlobalConfig } from "./config.ts";
import type { KernelNbd } from "./kernel-nbd.ts";
import type { CatalogOptions, Surroundings } from "./surroundings.ts";

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();
  monotonicMs(): number {
    return this.#now;
  }
  wallMs(): number {
    return this.#now;
  }
  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#now + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) {
      if (timer.atMs <= this.#now && this.#timers.delete(timer)) timer.callback();
    }
  }
}

export class MemoryVolume extends MemoryDevice implements AttachedVolume {
  readonly lost: Promise<TorusError>;
  lose: (error: TorusError) => void = () => {};
  cutOff: CutRecord | null = null;
  closed = 0;
  closeFailure: TorusError | null = null;
  /** While set, `close` waits for it. */
  closing: Promise<void> = Promise.resolve();

  constructor(name: string) {
    super({ name, sizeBytes: 1 << 20 });
    this.lost = new Promise((resolve) => {
      this.lose = resolve;
    });
  }
  async cut(): Promise<CutRecord | null> {
    return this.cutOff;
  }
  async close(): Promise<void> {
    this.closed += 1;
    await this.closing;
    if (this.closeFailure !== null) throw this.closeFailure;
  }
}

export class MemoryCatalog implements VolumeCatalog {
  readonly attached: MemoryVolume[] = [];
  failure: TorusError | null = null;
  /** Of volumes that are attached from now on. */
  cutOff: CutRecord | null = null;
  forced = 0;
  readonly snapshots: SnapshotSummary[] = [];
  async list() {
    return [{ name: "a", sizeBytes: 1 << 20, snapshots: this.snapshots }];
  }
  async attach(name: string, options: { force: boolean }) {
    if (options.force) this.forced += 1;
    if (this.failure !== null) throw this.failure;
    const volume = new MemoryVolume(name);
    volume.cutOff = this.cutOff;
    this.attached.push(volume);
    return volume;
  }
  async close() {}
}

export const globalConfig: GlobalConfig = {
  metadataUrl: "memory:",
  http: null,
  logLevel: "silent",
  exitWithParent: false,
  force: false,
  writeCacheBytes: 1 << 20,
  readCacheBytes: 1 << 20,
  leaseTtlMs: 10_000,
};

/** What a test sees of a command that runs. */
export interface TestSurroundings extends Surroundings {
  readonly catalog: MemoryCatalog;
  readonly said: string[];
  readonly synced: string[];
  /** What the catalogue was opened with. */
  readonly catalogOptions: CatalogOptions[];
  /** What is running and has not been closed: "http", "catalog", "directory". */
  readonly open: Set<string>;
  askToStop(reason: string): void;
  /** Resolves when something was said. */
  readonly spoken: Promise<string>;
}

export function testSurroundings(kernel: KernelNbd): TestSurroundings {
  const catalog = new MemoryCatalog();
  const stop = Promise.withResolvers<string>();
  const spoken = Promise.withResolvers<string>();
  const open = new Set<string>();
  const said: string[] = [];
  const synced: string[] = [];
  const catalogOptions: CatalogOptions[] = [];
  const running = (name: string) => {
    open.add(name);
    return async () => void open.delete(name);
  };
  return {
    catalog,
    said,
    synced,
    catalogOptions,
    open,
    kernel,
    clock: systemClock,
    random: systemRandom,
    log: silent,
    metrics: new Metrics(),
    holder: "test",
    bootOf: (metadataUrl) => ({ machine: metadataUrl, id: "boot" }),
    stop: stop.promise,
    spoken: spoken.promise,
    askToStop: stop.resolve,
    say: (line) => {
      said.push(line);
      spoken.resolve(line);
    },
    openCatalog: async (options) => {
      catalogOptions.push(options);
      catalog.close = running("catalog");
      return catalog;
    },
    serveHttp: async () => ({ close: running("http") }),
    privateDirectory: async () => {
      const path = await mkdtemp(join(tmpdir(), "torusblk-test-"));
      const closed = running("directory");
      return { path, close: () => rm(path, { recursive: true }).then(closed) };
    },
    syncDevice: async (device) => void synced.push(device),
  };
}
